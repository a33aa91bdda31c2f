use tempfile::TempDir;

use super::{
    faults,
    table::{Crate, Exception, Layers, May, Narrow},
};

const LAYERS: Layers =
    Layers { inside: "", floors: &[&["ground"], &["left", "right"], &["top"]], narrow: &[], exceptions: &[] };
const ROW: Crate = Crate {
    name: "one",
    at: "one",
    may: May::Use(&[]),
    layers: &[LAYERS],
    words: &[("top", "StatusCode", "top only")],
    sole: &[],
};
const TWO: Crate = Crate { name: "two", at: "two", may: May::Use(&["one"]), layers: &[], words: &[], sole: &[] };

/// A workspace of the crates `one` and `two`, its files on top of what breaks no rule.
fn tree(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let sound = [
        ("Cargo.toml", "[workspace]\nmembers = [\"one\", \"two\"]"),
        ("one/Cargo.toml", "[dependencies]\nserde = \"1\""),
        ("two/Cargo.toml", "[dependencies]\none.workspace = true"),
        ("one/src/lib.rs", "mod ground; mod left; mod right; mod top;"),
        ("one/src/ground.rs", "pub struct Stone;"),
        ("one/src/left.rs", "use crate::ground::Stone;"),
        ("one/src/right/mod.rs", "mod inner;"),
        ("one/src/right/inner.rs", "use super::super::ground; use std::fmt;"),
        ("one/src/top.rs", "use crate::{ground::Stone, left, right::{self, inner}}; fn f() -> StatusCode {}"),
    ];
    for (name, text) in sound.iter().chain(files) {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    dir
}

/// The one fault that these files make, as `WHERE: …`.
fn fault(files: &[(&str, &str)], crates: &[Crate]) -> String {
    let found = faults(tree(files).path(), crates).unwrap();
    assert_eq!(found.len(), 1, "{files:?}: {found:?}");
    found.into_iter().next().unwrap()
}

fn refused(file: &str, text: &str, told: &str) {
    let fault = fault(&[(file, text)], &[ROW, TWO]);
    assert!(fault.contains(told), "{text}: {fault}");
}

#[test]
fn a_sound_tree_has_no_fault() {
    assert_eq!(faults(tree(&[]).path(), &[ROW, TWO]).unwrap(), Vec::<String>::new());
}

#[test]
fn upwards_and_sideways_are_refused_however_it_is_written() {
    let left = "one/src/left.rs:1: 'left' may not use ";
    for text in [
        "use crate::top;",
        "use crate::{ground, top::X};",
        "use crate::{ground::{self, Stone}, top};",
        "pub use super::top::X as Y;",
        "use super::{top, ground};",
        "fn f() { crate::top::g() }",
        "fn f(x: crate::top::X) {}",
        "fn f() { println!(\"{}\", crate::top::X) }",
        "mod inner { use super::super::top; }",
        "#[derive(A)] #[a(with = crate::top)] struct S;",
    ] {
        refused("one/src/left.rs", text, &format!("{left}'top'"));
    }
    refused("one/src/left.rs", "use crate::right::inner;", &format!("{left}'right'"));
    refused("one/src/ground.rs", "\n\nuse crate::left;", "ground.rs:3: 'ground' may not use 'left'");
    refused("one/src/right/inner.rs", "use super::super::left;", "inner.rs:1: 'right' may not use 'left'");
    refused("one/src/right/inner.rs", "use crate::left;", "inner.rs:1: 'right' may not use 'left'");
}

#[test]
fn a_name_that_the_root_gives_on_is_followed_to_its_module() {
    let lib = "mod ground; mod left; mod right; mod top; pub use top::Thing; pub use left::{A, B as C};";
    let by_name = |text: &str| fault(&[("one/src/lib.rs", lib), ("one/src/ground.rs", text)], &[ROW, TWO]);
    assert!(by_name("use crate::Thing;").contains("'ground' may not use 'top'"));
    assert!(by_name("use crate::A;").contains("'ground' may not use 'left'"));
}

#[test]
fn comments_strings_and_tests_count_for_nothing() {
    for text in [
        "/// See [`crate::top`].\n// use crate::top;\nconst X: &str = \"crate::top\";",
        "#[cfg(test)]\nmod tests { use crate::top; }",
        "#[cfg(test)]\nuse crate::top;",
        "#[cfg(test)] fn f() { crate::top::g() }\npub(crate) struct X;",
        "use topmost::X; use other::crate_top::X; fn f(self: Y) {}",
    ] {
        assert_eq!(
            faults(tree(&[("one/src/left.rs", text)]).path(), &[ROW, TWO]).unwrap(),
            Vec::<String>::new(),
            "{text}"
        );
    }
    let tests = [("one/src/left.rs", "#[cfg(test)] mod tests;"), ("one/src/left/tests.rs", "use crate::top;")];
    assert_eq!(faults(tree(&tests).path(), &[ROW, TWO]).unwrap(), Vec::<String>::new());
    // After them, the rest counts again.
    let after = "#[cfg(test)]\nmod tests { use crate::top; }\nuse crate::top;";
    refused("one/src/left.rs", after, "left.rs:3: 'left' may not use 'top'");
    for after in [
        "enum E {\n#[cfg(test)] Only(crate::top::X),\nOther(crate::top::X) }",
        "enum E {\n#[cfg(test)] Only { x: crate::top::X },\nOther(crate::top::X) }",
        "struct S {\n#[cfg(test)] pub(crate) only: Map<crate::top::X, u8>,\nother: crate::top::X }",
        "fn f() {\n#[cfg(test)] self.counter.add(1, crate::top::X);\ncrate::top::g() }",
        "fn f() { S {\n#[cfg(test)] only: crate::top::X,\nother: crate::top::X } }",
        "fn f() { match x {\n#[cfg(test)] A => crate::top::X,\nB => crate::top::X } }",
        "#[cfg(test)]\n#[allow(dead_code)] fn f<A, B>() { crate::top::g() } fn g() { crate::top::g() }",
    ] {
        let line = if after.starts_with('#') { 2 } else { 3 };
        refused("one/src/left.rs", after, &format!("left.rs:{line}: 'left' may not use 'top'"));
    }
}

#[test]
fn a_module_without_a_layer_and_a_layer_without_a_module_are_refused() {
    refused("one/src/new.rs", "", "one/src/new.rs:1: the module 'new' has no layer");
    let missing = Layers { floors: &[&["ground"], &["left", "right"], &["top"], &["gone"]], ..LAYERS };
    let missing: &'static [Layers] = Box::leak(Box::new([missing]));
    assert!(fault(&[], &[Crate { layers: missing, ..ROW }, TWO]).contains("no module 'gone'"));
}

#[test]
fn a_word_belongs_to_one_module() {
    refused("one/src/left.rs", "use http::StatusCode;", "left.rs:1: 'StatusCode': top only");
    refused("one/src/left.rs", "\nfn f() { x!(StatusCode::OK) }", "left.rs:2: 'StatusCode': top only");
}

#[test]
fn a_trait_is_implemented_by_its_module_only() {
    const SOLE: Crate = Crate { sole: &[("right::inner", "Proof", "it is believed")], ..ROW };
    let home = ("one/src/right/inner.rs", "impl crate::ground::Proof for Stone {}");
    assert_eq!(faults(tree(&[home]).path(), &[SOLE, TWO]).unwrap(), Vec::<String>::new());
    for text in [
        "impl Proof for X {}",
        "impl<T> crate::ground::Proof for X<T> {}",
        "impl ground::Proof for X {}",
        "fn f() { impl Proof for X {} }",
    ] {
        let told = fault(&[home, ("one/src/top.rs", text)], &[SOLE, TWO]);
        assert!(told.contains("top.rs:1: only 'right::inner' may implement 'Proof': it is believed"), "{text}: {told}");
    }
    for text in ["use crate::ground::Proof as P;", "use crate::ground::{Stone, Proof as P};"] {
        let told = fault(&[home, ("one/src/top.rs", text)], &[SOLE, TWO]);
        assert!(told.contains("top.rs:1: 'Proof' may not get another name"), "{text}: {told}");
    }
    for text in ["use crate::ground::Proof as _;", "fn f() { <X as Proof>::f() }"] {
        let found = faults(tree(&[home, ("one/src/top.rs", text)]).path(), &[SOLE, TWO]).unwrap();
        assert_eq!(found, Vec::<String>::new(), "{text}");
    }
    for file in ["two/src/lib.rs", "two/tests/all.rs"] {
        let told = fault(&[home, (file, "\nimpl one::Proof for X {}")], &[SOLE, TWO]);
        assert!(told.contains(&format!("{file}:2: only 'right::inner' may implement 'Proof'")), "{told}");
    }
    assert!(fault(&[], &[SOLE, TWO]).contains("'right::inner' does not implement 'Proof'"));
    let for_tests = ("one/src/top.rs", "#[cfg(test)]\nimpl Proof for X {}");
    assert_eq!(faults(tree(&[home, for_tests]).path(), &[SOLE, TWO]).unwrap(), Vec::<String>::new());
}

#[test]
fn a_narrow_use_is_for_its_items_only() {
    const NARROWED: Layers = Layers {
        narrow: &[Narrow { from: "top", to: "ground", only: &["Stone"], why: "stones are enough" }],
        ..LAYERS
    };
    const NARROW: Crate = Crate { layers: &[NARROWED], ..ROW };
    assert_eq!(faults(tree(&[]).path(), &[NARROW, TWO]).unwrap(), Vec::<String>::new());
    for text in ["use crate::ground::Sand;", "use crate::ground;", "fn f() { crate::ground::dig() }"] {
        assert!(fault(&[("one/src/top.rs", text)], &[NARROW, TWO]).contains("only Stone: stones are enough"), "{text}");
    }
}

#[test]
fn below_a_module_the_same_rules_hold() {
    const INSIDE: Layers = Layers { inside: "right", floors: &[&["inner"], &["outer"]], ..LAYERS };
    const NESTED: Crate = Crate { layers: &[LAYERS, INSIDE], ..ROW };
    let outer = |inner: &'static str| {
        let parent = ("one/src/right/mod.rs", "mod inner; mod outer; pub use outer::Face; pub struct Own;");
        tree(&[parent, ("one/src/right/inner.rs", inner), ("one/src/right/outer/deep.rs", "use crate::right::inner;")])
    };
    assert_eq!(faults(outer("use super::Own;").path(), &[NESTED, TWO]).unwrap(), Vec::<String>::new());
    for text in ["use super::outer::deep;", "use crate::right::outer;", "use super::Face;", "use crate::right::Face;"] {
        let found = faults(outer(text).path(), &[NESTED, TWO]).unwrap();
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].contains("'inner' may not use 'outer'"), "{text}: {found:?}");
    }
}

#[test]
fn an_exception_covers_its_path_only_and_must_be_needed() {
    const EXCEPTED: Layers = Layers { exceptions: &[Exception { from: "left", to: "top::X" }], ..LAYERS };
    const EXCEPT: Crate = Crate { layers: &[EXCEPTED], ..ROW };
    let file = |text: &'static str| [("one/src/left.rs", text)];
    assert_eq!(faults(tree(&file("use crate::top::X;")).path(), &[EXCEPT, TWO]).unwrap(), Vec::<String>::new());
    assert!(fault(&file("use crate::top::{X, Y};"), &[EXCEPT, TWO]).contains("'left' may not use 'top'"));
    assert!(fault(&file(""), &[EXCEPT, TWO]).contains("'left' no longer uses 'top::X'"));
}

#[test]
fn crates_depend_on_what_their_row_names() {
    let two = "[dependencies]\ntwo = { path = \"../two\" }";
    refused("one/Cargo.toml", two, "one/Cargo.toml: one may not depend on two");
    refused("one/Cargo.toml", "[dependencies.two]\npath = \"../two\"", "may not depend on two");
    refused("one/Cargo.toml", "[build-dependencies]\ntwo.workspace = true", "may not depend on two");
    refused("one/Cargo.toml", "[target.'cfg(unix)'.dependencies]\ntwo.workspace = true", "may not depend on two");
    refused("one/Cargo.toml", "[dependencies]\nx = { package = \"two\", path = \"..\" }", "may not depend on two");
    let tests_may = [("one/Cargo.toml", "[dev-dependencies]\ntwo.workspace = true")];
    assert_eq!(faults(tree(&tests_may).path(), &[ROW, TWO]).unwrap(), Vec::<String>::new());
}

#[test]
fn every_member_has_a_row_and_every_row_a_member() {
    assert!(fault(&[], &[ROW]).contains("two: this crate has no row"));
    assert!(fault(&[("Cargo.toml", "[workspace]\nmembers = [\"one\"]")], &[ROW, TWO]).contains("no member"));
}

#[test]
fn what_is_not_rust_is_said() {
    let error = faults(tree(&[("one/src/left.rs", "fn f() { \"")]).path(), &[ROW, TWO]).unwrap_err();
    assert!(error.to_string().contains("one/src/left.rs cannot be read as Rust"), "{error}");
}
