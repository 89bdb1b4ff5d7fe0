namespace SslResearch.Core.Data;

/// <summary>Data that cannot be used as it is. The message is for the user: what, which file, how to mend it.</summary>
public sealed class DataException : Exception
{
    /// <summary>With the message alone.</summary>
    public DataException(string message)
        : base(message)
    {
    }

    /// <summary>With the cause.</summary>
    public DataException(string message, Exception inner)
        : base(message, inner)
    {
    }

    /// <summary>Without words; for serialisers only.</summary>
    public DataException()
    {
    }
}
