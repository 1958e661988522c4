#[test]
fn table() {
    for row in super::connections::table().unwrap() { println!("{row}"); }
}
