use std::sync::Arc;

/// Where a stretch's frames lie, when they stay there until it is merged: a mapped file.
pub type Backing = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Payload that is kept until the stretch before is there.
#[derive(Clone, Debug)]
pub(super) enum Kept {
    /// In the backing.
    At { offset: usize, len: u32 },
    /// Apart: without backing, or put together from fragments.
    Own(Box<[u8]>),
}

impl Kept {
    pub(super) fn new(bytes: &[u8], backing: Option<&Backing>) -> Self {
        let here = backing.and_then(|backing| {
            let all = (**backing).as_ref();
            let offset = bytes.as_ptr().addr().checked_sub(all.as_ptr().addr())?;
            let len = u32::try_from(bytes.len()).ok()?;
            (offset.checked_add(bytes.len())? <= all.len()).then_some((offset, len))
        });
        match here {
            Some((offset, len)) => Self::At { offset, len },
            None => Self::Own(bytes.into()),
        }
    }

    /// The bytes; `backing` is the one that they were kept with.
    pub(super) fn bytes<'k>(&'k self, backing: Option<&'k Backing>) -> &'k [u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::At { offset, len } => {
                let all = backing.map_or(&[][..], |backing| (**backing).as_ref());
                all.get(*offset..offset + *len as usize).unwrap_or_default()
            }
        }
    }

    /// Bytes of memory that it takes.
    pub(super) fn footprint(&self) -> usize {
        match self {
            Self::At { .. } => 0,
            Self::Own(bytes) => bytes.len(),
        }
    }

    /// Makes it independent of the backing.
    pub(super) fn detach(&mut self, backing: Option<&Backing>) {
        if let Self::At { .. } = self {
            *self = Self::Own(self.bytes(backing).into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_the_backing_are_not_copied() {
        let backing: Backing = Arc::new(b"0123456789".to_vec());
        let all: &[u8] = (*backing).as_ref();
        let mut kept = Kept::new(&all[3..5], Some(&backing));
        assert!(matches!(kept, Kept::At { offset: 3, len: 2 }));
        assert_eq!(kept.bytes(Some(&backing)), b"34");
        kept.detach(Some(&backing));
        assert_eq!(kept.bytes(None), b"34");
        let elsewhere = Kept::new(b"34", Some(&backing));
        assert!(matches!(elsewhere, Kept::Own(_)));
    }
}
