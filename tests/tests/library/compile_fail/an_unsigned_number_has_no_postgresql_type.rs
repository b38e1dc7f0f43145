fn main() {
    let (byte, port, id, count) = (1_u8, 80_u16, 3_000_000_000_u32, 1_usize);
    let _ = pgspan::sql!("SELECT {n}", n = byte);
    let _ = pgspan::sql!("SELECT {n}", n = port);
    let _ = pgspan::sql!("SELECT {n}", n = id);
    let _ = pgspan::sql!("SELECT {n}", n = vec![id]);
    let _ = pgspan::sql!("SELECT {n}", n = Some(count));
}
