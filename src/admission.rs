#[derive(Debug)]
pub struct Permit {
    _private: (),
}
#[derive(Debug)]
pub struct FetchPermit {
    _private: (),
}

#[cfg(test)]
impl Permit {
    pub(crate) fn for_tests() -> Self {
        Self { _private: () }
    }
}

#[cfg(test)]
impl FetchPermit {
    pub(crate) fn for_tests() -> Self {
        Self { _private: () }
    }
}
