fn main() {
    println!("{}", std::any::type_name::<safepoint::RunError>());
}
