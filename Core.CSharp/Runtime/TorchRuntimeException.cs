namespace SslResearch.Core.Runtime;

/// <summary>libtorch or a device cannot be used; the message says what is wrong and how to mend it.</summary>
public sealed class TorchRuntimeException(string message, Exception? inner = null) : Exception(message, inner);
