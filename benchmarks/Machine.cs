extern alias language;

using System.Runtime.InteropServices;
using System.Text.RegularExpressions;
using SslResearch.Core.Runtime;
using Language = language::SslResearch;

namespace SslResearch.Benchmarks;

/// <summary>Where results come from.</summary>
/// <param name="Processor">Model name.</param>
/// <param name="Cores">Logical processors.</param>
/// <param name="System">Operating system.</param>
/// <param name="Dotnet">.NET runtime.</param>
/// <param name="TorchSharp">Version.</param>
/// <param name="Libtorch">Version.</param>
/// <param name="Peer">Versions of the peer as it tells them; null where it is missing.</param>
internal sealed record Machine(string Processor, int Cores, string System, string Dotnet, string TorchSharp, string Libtorch, string? Peer)
{
    public static Machine Here(string? peer)
    {
        var runtime = TorchRuntime.Initialise(threads: 2);
        return new Machine(
            Language.ProvenanceModule.cpu(),
            Environment.ProcessorCount,
            SystemName() ?? RuntimeInformation.OSDescription,
            RuntimeInformation.FrameworkDescription,
            runtime.TorchSharp,
            runtime.Libtorch,
            peer);
    }

    /// <summary>Part of a file's name.</summary>
    public string Slug => Regex.Replace(Processor.ToLowerInvariant(), "[^a-z0-9]+", "-").Trim('-') + $"-{Cores}-cores";

    private static string? SystemName()
    {
        const string file = "/etc/os-release";
        const string name = "PRETTY_NAME=";
        return !File.Exists(file) ? null : File.ReadLines(file).FirstOrDefault(l => l.StartsWith(name, StringComparison.Ordinal))?[name.Length..].Trim('"');
    }
}
