namespace SslResearch

/// What a fair comparison holds fixed.
type Setting =
    {
        Data: Data
        Backbone: IBackbone
        Train: Train
        Protocols: Protocol list
        Seeds: int list
    }
