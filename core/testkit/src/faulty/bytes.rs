//! The bytes of one simulated file: sparse, and cheap to clone.

use std::sync::Arc;

/// What a disk writes at once.
pub const SECTOR_BYTES: usize = 512;

/// What a file system allocates at once.
pub(super) const BLOCK_BYTES: usize = 4096;

/// Everything a sector holds.
pub(super) type Sector = [u8; SECTOR_BYTES];

/// Bytes in shared blocks. What lies past the length inside the last block is zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bytes {
    length: u64,
    /// `None` is a hole: zeros that take no room.
    blocks: Vec<Option<Arc<[u8; BLOCK_BYTES]>>>,
}

impl Bytes {
    pub(super) fn from_slice(data: &[u8]) -> Self {
        let mut bytes = Self::default();
        bytes.write(data, 0);
        bytes
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn allocated_bytes(&self) -> u64 {
        (self.blocks.iter().flatten().count() * BLOCK_BYTES) as u64
    }

    pub(super) fn is_allocated(&self, block: usize) -> bool {
        self.blocks.get(block).is_some_and(Option::is_some)
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut all = vec![0; self.length as usize];
        self.read(&mut all, 0);
        all
    }

    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let wanted = (self.length.saturating_sub(offset)).min(buffer.len() as u64) as usize;
        let mut done = 0;
        while done < wanted {
            let position = offset as usize + done;
            let (block, start) = (position / BLOCK_BYTES, position % BLOCK_BYTES);
            let count = (BLOCK_BYTES - start).min(wanted - done);
            match &self.blocks[block] {
                Some(bytes) => {
                    buffer[done..done + count].copy_from_slice(&bytes[start..start + count]);
                }
                None => buffer[done..done + count].fill(0),
            }
            done += count;
        }
        wanted
    }

    pub(super) fn write(&mut self, data: &[u8], offset: u64) {
        if data.is_empty() {
            return;
        }
        let end = offset + data.len() as u64;
        if end > self.length {
            self.set_len(end);
        }
        let mut done = 0;
        while done < data.len() {
            let position = offset as usize + done;
            let (block, start) = (position / BLOCK_BYTES, position % BLOCK_BYTES);
            let count = (BLOCK_BYTES - start).min(data.len() - done);
            let bytes = self.blocks[block].get_or_insert_with(|| Arc::new([0; BLOCK_BYTES]));
            Arc::make_mut(bytes)[start..start + count].copy_from_slice(&data[done..done + count]);
            done += count;
        }
    }

    pub(super) fn set_len(&mut self, length: u64) {
        self.blocks.resize(length.div_ceil(BLOCK_BYTES as u64) as usize, None);
        let used_of_last = (length % BLOCK_BYTES as u64) as usize;
        if length < self.length
            && used_of_last > 0
            && let Some(Some(last)) = self.blocks.last_mut()
        {
            Arc::make_mut(last)[used_of_last..].fill(0);
        }
        self.length = length;
    }

    /// A whole sector, with zeros past the end of the file.
    pub(super) fn sector(&self, index: u64) -> Sector {
        let mut sector = [0; SECTOR_BYTES];
        self.read(&mut sector, index * SECTOR_BYTES as u64);
        sector
    }

    /// Stores as much of a sector as lies before the end of the file.
    pub(super) fn put_sector(&mut self, index: u64, sector: &Sector) {
        let offset = index * SECTOR_BYTES as u64;
        let inside = self.length.saturating_sub(offset).min(SECTOR_BYTES as u64) as usize;
        self.write(&sector[..inside], offset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_bytes_do_not_come_back() {
        let mut bytes = Bytes::from_slice(&[7; 10_000]);
        bytes.set_len(5_000);
        bytes.set_len(10_000);
        let all = bytes.to_vec();
        assert!(all[..5_000].iter().all(|&byte| byte == 7));
        assert!(all[5_000..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn holes_take_no_room() {
        let mut bytes = Bytes::default();
        bytes.write(b"x", 1_000_000);
        assert_eq!(bytes.length(), 1_000_001);
        assert_eq!(bytes.allocated_bytes(), BLOCK_BYTES as u64);
    }
}
