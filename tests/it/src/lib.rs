//! Nothing: the tests are in `tests/it`, one binary that boots the real processes.
