struct Point;

fn main() {
    let (point, unsigned) = (Point, 1_u64);
    let _ = pgspan::sql!("SELECT {point}");
    let _ = pgspan::sql!("SELECT {n}", n = unsigned);
}
