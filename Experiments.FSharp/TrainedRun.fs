namespace SslResearch

/// A run that another builds on: inside an experiment it stands for its result, and its identity is part of the experiment's.
type ITrainedRun =
    /// Hash of everything that can change its result.
    abstract Id: string

    /// For people.
    abstract Title: string
