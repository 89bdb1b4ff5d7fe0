namespace SslResearch

/// A run that another builds on: inside an experiment it stands for its result, and its identity is part of the experiment's.
type ITrainedRun =
    /// Hash of everything that can change its result.
    abstract Id: string

    /// For people.
    abstract Title: string

    /// Its method's record; None where it has no method (random initialisation, raw pixels).
    abstract Method: obj option
