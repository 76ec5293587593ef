//! How the window looks: colours for dark and light, one spacing scale, fonts. Panels take every colour and distance
//! from here.

use std::sync::Arc;

use egui::{
    Color32, CornerRadius, FontData, FontDefinitions, FontFamily, FontId, Margin, Shadow, Stroke,
    SurrenderFocusOn, TextStyle, Theme, Vec2, vec2,
};

/// Distances in points. Everything sits on multiples of four.
pub(crate) mod space {
    /// Between things that belong together.
    pub(crate) const XS: f32 = 4.0;
    /// Between neighbours.
    pub(crate) const S: f32 = 8.0;
    /// Inside a panel's edge.
    pub(crate) const M: f32 = 12.0;
    /// Between sections.
    pub(crate) const L: f32 = 16.0;
    /// Between groups that have nothing to do with each other.
    pub(crate) const XL: f32 = 24.0;
    /// Height of a control.
    pub(crate) const CONTROL: f32 = 28.0;
    /// Height of the bar on top.
    pub(crate) const TOP_BAR: f32 = 48.0;
    /// Height of the line at the bottom.
    pub(crate) const STATUS: f32 = 28.0;
    /// Width of the tool strip.
    pub(crate) const TOOLS: f32 = 44.0;
    /// Width of the names in front of the timeline's lanes.
    pub(crate) const LANE_NAMES: f32 = 168.0;
}

/// Corner radius of controls.
pub(crate) const RADIUS: u8 = 5;

/// The colours of one theme.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Palette {
    /// Around the video.
    pub(crate) canvas: Color32,
    /// Panels.
    pub(crate) panel: Color32,
    /// Fields to type into, wells.
    pub(crate) well: Color32,
    /// Buttons, pills.
    pub(crate) raised: Color32,
    /// The same under the pointer.
    pub(crate) raised_hot: Color32,
    /// Selected rows.
    pub(crate) chosen: Color32,
    /// Lines between panels, outlines of controls.
    pub(crate) line: Color32,
    /// Text that is read first.
    pub(crate) text: Color32,
    /// Text that explains.
    pub(crate) text_weak: Color32,
    /// Text that can be overlooked.
    pub(crate) text_faint: Color32,
    /// What one presses next; objectness.
    pub(crate) accent: Color32,
    /// The accent as a colour of signs and links.
    pub(crate) accent_text: Color32,
    /// Text on the accent colour.
    pub(crate) on_accent: Color32,
    /// Kept, saved, good.
    pub(crate) good: Color32,
    /// Rows of kept proposals.
    pub(crate) good_soft: Color32,
    /// Worth a look.
    pub(crate) look: Color32,
    /// Went wrong, deletes.
    pub(crate) bad: Color32,
}

const fn grey(value: u32) -> Color32 {
    Color32::from_rgb((value >> 16) as u8, (value >> 8) as u8, value as u8)
}

pub(crate) const DARK: Palette = Palette {
    canvas: grey(0x0e_0f12),
    panel: grey(0x1a_1c21),
    well: grey(0x11_1216),
    raised: grey(0x26_2930),
    raised_hot: grey(0x31_353e),
    chosen: grey(0x25_2c3a),
    line: grey(0x2e_3139),
    text: grey(0xe8_eaee),
    text_weak: grey(0xa3_a8b3),
    text_faint: grey(0x8e_94a0),
    accent: grey(0x2f_6df6),
    accent_text: grey(0x7b_a7ff),
    on_accent: grey(0xff_ffff),
    good: grey(0x3d_cf8e),
    good_soft: grey(0x1c_2d26),
    look: grey(0xf2_b441),
    bad: grey(0xf2_6b6b),
};

const LIGHT: Palette = Palette {
    canvas: grey(0xd9_dce1),
    panel: grey(0xf7_f8fa),
    well: grey(0xff_ffff),
    raised: grey(0xeb_edf1),
    raised_hot: grey(0xdf_e3e9),
    chosen: grey(0xdf_e8fb),
    line: grey(0xd3_d7de),
    text: grey(0x1b_1e24),
    text_weak: grey(0x4f_5663),
    text_faint: grey(0x59_606f),
    accent: grey(0x1f_5fe6),
    accent_text: grey(0x1a_52c8),
    on_accent: grey(0xff_ffff),
    good: grey(0x0b_6a3f),
    good_soft: grey(0xdc_f1e6),
    look: grey(0x82_5200),
    bad: grey(0xab_262d),
};

/// The colours in force.
pub(crate) fn palette(ui: &egui::Ui) -> &'static Palette {
    if ui.visuals().dark_mode {
        &DARK
    } else {
        &LIGHT
    }
}

/// The heavier weight, for headings and what is selected.
pub(crate) fn semibold(size: f32) -> FontId {
    FontId::new(size, FontFamily::Name("semibold".into()))
}

/// The normal weight.
pub(crate) fn regular(size: f32) -> FontId {
    FontId::proportional(size)
}

/// The sRGB colour of an object, as egui wants it.
pub(crate) fn object_colour(index: u32) -> Color32 {
    let [r, g, b] = crate::project::colour_rgb(index);
    Color32::from_rgb(r, g, b)
}

/// A colour nearer to the background: `amount` of it remains.
pub(crate) fn faded(colour: Color32, amount: f32) -> Color32 {
    colour.gamma_multiply(amount)
}

fn fonts() -> FontDefinitions {
    let mut fonts = FontDefinitions::default();
    let regular = include_bytes!("../../assets/fonts/Inter-Regular.otf");
    let semibold = include_bytes!("../../assets/fonts/Inter-SemiBold.otf");
    fonts
        .font_data
        .insert("inter".into(), Arc::new(FontData::from_static(regular)));
    fonts.font_data.insert(
        "inter-semibold".into(),
        Arc::new(FontData::from_static(semibold)),
    );
    let fallback = fonts
        .families
        .get(&FontFamily::Proportional)
        .cloned()
        .unwrap_or_default();
    let chain = |first: &str| {
        let mut all = vec![first.to_owned()];
        all.extend(fallback.iter().cloned());
        all
    };
    fonts
        .families
        .insert(FontFamily::Proportional, chain("inter"));
    fonts
        .families
        .insert(FontFamily::Name("semibold".into()), chain("inter-semibold"));
    fonts
}

/// Installs fonts, spacing and both themes.
pub(crate) fn install(ctx: &egui::Context) {
    ctx.set_fonts(fonts());
    // A drag is no click: after scrubbing or a stroke, keys would still go to the text field that had them.
    ctx.options_mut(|o| o.input_options.surrender_focus_on = SurrenderFocusOn::Presses);
    for (theme, colours) in [(Theme::Dark, &DARK), (Theme::Light, &LIGHT)] {
        ctx.style_mut_of(theme, |style| apply(style, colours));
    }
}

fn apply(style: &mut egui::Style, p: &Palette) {
    style.text_styles = [
        (TextStyle::Small, regular(11.5)),
        (TextStyle::Body, regular(13.0)),
        (TextStyle::Button, regular(13.0)),
        (TextStyle::Heading, semibold(16.0)),
        (TextStyle::Monospace, FontId::monospace(12.5)),
    ]
    .into();
    let spacing = &mut style.spacing;
    spacing.item_spacing = vec2(space::S, space::XS);
    spacing.button_padding = vec2(10.0, 4.0);
    spacing.interact_size = Vec2::new(space::CONTROL, space::CONTROL);
    spacing.window_margin = Margin::same(16);
    spacing.menu_margin = Margin::same(6);
    spacing.slider_width = 120.0;
    spacing.slider_rail_height = 3.0;
    spacing.icon_width = 15.0;
    spacing.icon_width_inner = 9.0;
    spacing.icon_spacing = 6.0;
    spacing.tooltip_width = 320.0;
    spacing.combo_width = 120.0;
    style.interaction.selectable_labels = false;
    style.interaction.tooltip_delay = 0.4;
    style.animation_time = 0.08;

    let v = &mut style.visuals;
    v.panel_fill = p.panel;
    v.window_fill = p.panel;
    v.extreme_bg_color = p.well;
    v.text_edit_bg_color = Some(p.well);
    v.code_bg_color = p.well;
    v.faint_bg_color = p.raised;
    v.override_text_color = None;
    v.weak_text_color = Some(p.text_weak);
    v.hyperlink_color = p.accent_text;
    v.warn_fg_color = p.look;
    v.error_fg_color = p.bad;
    v.selection.bg_fill = faded(p.accent, 0.45);
    v.selection.stroke = Stroke::new(1.0, p.accent);
    v.window_stroke = Stroke::new(1.0, p.line);
    v.window_corner_radius = CornerRadius::same(10);
    v.menu_corner_radius = CornerRadius::same(8);
    let shadow = Shadow {
        offset: [0, 6],
        blur: 24,
        spread: 0,
        color: Color32::from_black_alpha(if v.dark_mode { 110 } else { 40 }),
    };
    v.window_shadow = shadow;
    v.popup_shadow = shadow;
    v.slider_trailing_fill = true;
    v.handle_shape = egui::style::HandleShape::Circle;
    v.striped = false;
    v.button_frame = true;
    v.disabled_alpha = 0.45;

    let radius = CornerRadius::same(RADIUS);
    let w = &mut v.widgets;
    let set = |visuals: &mut egui::style::WidgetVisuals, fill, line, text| {
        visuals.bg_fill = fill;
        visuals.weak_bg_fill = fill;
        visuals.bg_stroke = Stroke::new(1.0, line);
        visuals.fg_stroke = Stroke::new(1.0, text);
        visuals.corner_radius = radius;
        visuals.expansion = 0.0;
    };
    set(&mut w.noninteractive, p.panel, p.line, p.text);
    set(&mut w.inactive, p.raised, p.line, p.text);
    set(&mut w.hovered, p.raised_hot, p.line, p.text);
    set(&mut w.active, p.raised_hot, p.accent, p.text);
    set(&mut w.open, p.raised_hot, p.line, p.text);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance by WCAG.
    fn luminance(colour: Color32) -> f32 {
        let linear = |v: u8| {
            let v = f32::from(v) / 255.0;
            if v <= 0.04045 {
                v / 12.92
            } else {
                ((v + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * linear(colour.r()) + 0.7152 * linear(colour.g()) + 0.0722 * linear(colour.b())
    }

    fn contrast(a: Color32, b: Color32) -> f32 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn text_can_be_read_on_every_surface() {
        for p in [&DARK, &LIGHT] {
            for surface in [p.panel, p.well, p.chosen, p.good_soft] {
                assert!(contrast(p.text, surface) > 7.0);
                assert!(contrast(p.text_weak, surface) > 4.5);
            }
            for surface in [p.canvas, p.panel, p.well, p.raised, p.chosen, p.good_soft] {
                assert!(contrast(p.text_faint, surface) > 4.5, "{surface:?}");
            }
            assert!(contrast(p.good, p.good_soft) > 4.5);
            for colour in [p.good, p.look, p.bad, p.accent_text] {
                for surface in [p.canvas, p.panel, p.well, p.chosen] {
                    let found = contrast(colour, surface);
                    assert!(found > 4.5, "{colour:?} on {surface:?}: {found}");
                }
            }
            assert!(contrast(p.on_accent, p.accent) > 4.5);
        }
    }
}
