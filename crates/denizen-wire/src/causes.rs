//! An error with what caused it, for a log or a person: an outer text alone often names only what was tried.
//!
//! Tests: below.

use std::{error::Error, fmt};

/// Writes an error and each of its causes, separated by `: `. A cause that its error quotes is not repeated.
#[derive(Clone, Copy)]
pub struct Causes<'a>(pub &'a dyn Error);

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = self.0.to_string();
        f.write_str(&last)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            if !last.contains(&text) {
                write!(f, ": {text}")?;
            }
            last = text;
            next = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Told(&'static str, Option<Box<Told>>);

    impl fmt::Display for Told {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Told {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as _)
        }
    }

    fn told(texts: &[&'static str]) -> Told {
        let (first, rest) = texts.split_first().unwrap();
        Told(first, (!rest.is_empty()).then(|| Box::new(told(rest))))
    }

    #[test]
    fn every_cause_is_written_once() {
        for (texts, written) in [
            (&["the store is away"][..], "the store is away"),
            (&["no token", "the store is away", "disk full"], "no token: the store is away: disk full"),
            (&["cannot read: disk full", "disk full", "errno 28"], "cannot read: disk full: errno 28"),
            (&["disk full; make room", "disk full"], "disk full; make room"),
            (&["transparent", "transparent", "cause"], "transparent: cause"),
        ] {
            assert_eq!(Causes(&told(texts)).to_string(), written);
        }
    }
}
