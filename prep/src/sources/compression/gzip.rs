//! gzip files: members, one after the other.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

use super::{Counted, Defect};

/// Decodes all members of a gzip file.
///
/// Zeros behind the last one are padding, as gzip(1) has it; anything else there is an error.
pub(super) struct Members<R: BufRead> {
    /// `None` only while a member is exchanged for the next, and after an error or the end.
    member: Option<GzDecoder<Counted<R>>>,
}

impl<R: BufRead> Members<R> {
    pub(super) fn new(input: Counted<R>) -> Self {
        Self { member: Some(GzDecoder::new(input)) }
    }

    /// Goes on to the next member; without one there is nothing left.
    fn next_member(&mut self) -> io::Result<()> {
        let Some(member) = self.member.take() else { return Ok(()) };
        let mut input = member.into_inner();
        let mut padded = false;
        loop {
            let start = input.fill_buf()?;
            match start.iter().position(|byte| *byte != 0) {
                None if start.is_empty() => return Ok(()),
                None => {
                    let used = start.len();
                    input.consume(used);
                    padded = true;
                }
                // A member begins with 1f 8b; the second byte may lie in the next buffer, and its header tells.
                Some(0) if start[0] == 0x1f && !padded && start.get(1).is_none_or(|byte| *byte == 0x8b) => {
                    self.member = Some(GzDecoder::new(input));
                    return Ok(());
                }
                Some(at) => {
                    let at = input.position() + at as u64;
                    return Err(io::Error::new(io::ErrorKind::InvalidData, Defect::Trailing(at)));
                }
            }
        }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            match member.read(out)? {
                0 if !out.is_empty() => self.next_member()?,
                bytes => return Ok(bytes),
            }
        }
        Ok(0)
    }
}
