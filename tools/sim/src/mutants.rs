//! Defects that are planted on purpose, each as a port or a wire that does not do what the real one
//! does, so that the product carries no trace of them. A simulator that does not find them finds
//! nothing.

/// A planted defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// The disk acknowledges syncs and carries none out.
    SkipSync,
    /// The core is told that a batch is durable when it is handed to the disk.
    EarlyReply,
    /// The lock is given to a standby though its holder lives.
    NoFencing,
    /// A holder is ended by its number alone.
    FenceByNumber,
    /// Replay does not see the last event.
    OffByOneReplay,
    /// A node takes a term that was taken before.
    TermReused,
    /// That an attempt was lost is told to nobody.
    LostReport,
    /// Some orders to start go nowhere.
    DroppedOrder,
    /// Shims begin without their claim.
    NoClaim,
    /// Followers are shown what is not durable.
    ReadAhead,
    /// Replay behind a checkpoint begins one event too late.
    LateReplay,
    /// A checkpoint gets its name before it is on disk.
    NamedUnsynced,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::SkipSync,
        Self::EarlyReply,
        Self::NoFencing,
        Self::FenceByNumber,
        Self::OffByOneReplay,
        Self::TermReused,
        Self::LostReport,
        Self::DroppedOrder,
        Self::NoClaim,
        Self::ReadAhead,
        Self::LateReplay,
        Self::NamedUnsynced,
    ];

    /// Within how many seeds it must be found, from seed 0 on.
    pub fn within(self) -> u64 {
        match self {
            Self::SkipSync
            | Self::EarlyReply
            | Self::NoFencing
            | Self::OffByOneReplay
            | Self::TermReused
            | Self::LostReport
            | Self::DroppedOrder
            | Self::NoClaim
            | Self::ReadAhead
            | Self::LateReplay
            | Self::NamedUnsynced => 50,
            Self::FenceByNumber => 500,
        }
    }
}
