namespace SslResearch.Core.Data;

/// <summary>An image could not be turned into views; the message names it.</summary>
/// <param name="index">Position of the image in its dataset.</param>
/// <param name="message">What happened.</param>
/// <param name="inner">The cause.</param>
public sealed class LoaderException(long index, string message, Exception inner) : Exception(message, inner)
{
    /// <summary>Position of the image in its dataset.</summary>
    public long Index { get; } = index;
}
