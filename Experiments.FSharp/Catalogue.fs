namespace SslResearch

[<RequireQualifiedAccess>]
module Methods =
    /// What `sslr list` and docs/methods.md name; the one place where a method of this repository is registered.
    let catalogue: MethodEntry list =
        [
            Rotation.Entry
            Jigsaw.Entry
            Colorization.Entry
            NextFrame.Entry
            SimClr.Entry
            Moco.EntryV1
            Moco.EntryV2
            MocoV3.Entry
            NnClr.Entry
            Swav.Entry
            Byol.Entry
            SimSiam.Entry
            Dino.Entry
            Ibot.Entry
            DinoV2.Entry
            BarlowTwins.Entry
            VicReg.Entry
            LeJepa.Entry
            Mae.Entry
            SimMim.Entry
            Dvae.Entry
            Beit.Entry
            IJepa.Entry
            Supervised.Entry
        ]
