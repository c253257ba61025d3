//! Decompresses the formats that engines accept, with bounded memory.

use std::io::{self, BufRead, Read};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

/// The maximum window of a decompressor: what `zstd` and `xz` use at their highest ordinary levels.
const WINDOW: u32 = 128 << 20;

/// The content, decompressed if it begins with a known magic number.
pub(super) fn decompressed<'a>(mut content: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let begin = content.fill_buf()?;
    Ok(match begin {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(content)),
        [b'B', b'Z', b'h', ..] => Box::new(MultiBzDecoder::new(content)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Box::new(XzReader::new_mem_limit(content, true, WINDOW >> 10)),
        begin if is_frame(begin) => Box::new(Zstd::Between(content)),
        _ => Box::new(content),
    })
}

fn is_frame(begin: &[u8]) -> bool {
    matches!(begin, [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

/// The consecutive frames of a zstd stream.
enum Zstd<R: BufRead> {
    Between(R),
    Within(Box<StreamingDecoder<R, FrameDecoder>>),
    Over,
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            *self = match std::mem::replace(self, Self::Over) {
                Self::Over => return Ok(0),
                Self::Between(mut content) => {
                    let begin = content.fill_buf()?;
                    if begin.is_empty() {
                        return Ok(0);
                    }
                    let decoder = StreamingDecoder::new_with_max_window_size(content, WINDOW.into());
                    Self::Within(Box::new(decoder.map_err(io::Error::other)?))
                }
                Self::Within(mut decoder) => match decoder.read(buffer)? {
                    0 => Self::Between(decoder.into_inner()),
                    read => {
                        *self = Self::Within(decoder);
                        return Ok(read);
                    }
                },
            };
        }
    }
}
