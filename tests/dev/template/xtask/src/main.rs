fn main() -> std::process::ExitCode {
    pgspan_dev::main()
}
