namespace SslResearch.Core.Runtime;

/// <summary>Where the native libraries came from.</summary>
/// <param name="Folder">Folder of libtorch.</param>
/// <param name="Given">True if a person named that folder.</param>
/// <param name="Patched">True if the private copy of TorchSharp's shim had a version need weakened.</param>
/// <param name="TorchSharp">Version of TorchSharp.</param>
/// <param name="Libtorch">Version of libtorch, as the loaded library says.</param>
/// <param name="HasCuda">True if that folder has libtorch's CUDA part.</param>
public sealed record RuntimeInfo(string Folder, bool Given, bool Patched, string TorchSharp, string Libtorch, bool HasCuda);
