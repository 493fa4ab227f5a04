#[derive(Debug)]
pub struct Permit {
    _private: (),
}
#[derive(Debug)]
pub struct FetchPermit {
    _private: (),
}
