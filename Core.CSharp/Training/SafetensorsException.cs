namespace SslResearch.Core.Training;

/// <summary>A safetensors file that cannot be read or written; the message names the file and the fault.</summary>
public sealed class SafetensorsException(string path, string fault, Exception? inner = null) : Exception($"{path}: {fault}", inner)
{
    /// <summary>The file.</summary>
    public string Path { get; } = path;
}
