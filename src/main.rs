//! The thin binary: everything it does is in the library, so that tests call the same code.

#[cfg(target_os = "linux")]
mod huge_pages;

use std::process::ExitCode;

#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: huge_pages::HugePages = huge_pages::HugePages;

fn main() -> ExitCode {
    sparrow::cli::main()
}
