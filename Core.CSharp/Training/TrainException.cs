namespace SslResearch.Core.Training;

/// <summary>A training cannot start or go on; the message says why and how to mend it.</summary>
public sealed class TrainException(string message, Exception? inner = null) : Exception(message, inner);
