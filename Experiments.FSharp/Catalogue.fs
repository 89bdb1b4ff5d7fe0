namespace SslResearch

[<RequireQualifiedAccess>]
module Methods =
    /// What `sslr list` and docs/methods.md name; the one place where a method of this repository is registered.
    let catalogue: MethodEntry list = [ SimClr.Entry; Swav.Entry; Dino.Entry; Supervised.Entry ]
