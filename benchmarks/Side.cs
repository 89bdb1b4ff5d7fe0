using System.Diagnostics;
using System.Globalization;
using System.Text.Json;

namespace SslResearch.Benchmarks;

/// <summary>The peer is missing on this machine; the message says what to install.</summary>
internal sealed class PeerMissingException(string message) : Exception(message);

/// <summary>Runs one side of a case in a process of its own and reads its answer.</summary>
/// <param name="Root">Root of the repository.</param>
/// <param name="Python">Interpreter that sees the peer's packages.</param>
/// <param name="Seconds">Time of one measurement.</param>
/// <param name="Steps">Steps of the memory measurement.</param>
internal sealed record Side(string Root, string Python, double Seconds, int Steps)
{
    private const string Advice = "install python3-torch python3-torchvision python3-pil libopenblas0-openmp";
    private const int Missing = 3;

    public Measurement Ours(IReadOnlyList<string> arguments) => Answer(
        Environment.ProcessPath!,
        [typeof(Side).Assembly.Location, "measure", .. arguments, "--seconds", Text(Seconds), "--steps", Text(Steps)]);

    /// <returns>Null where the case has no peer.</returns>
    public Measurement? Theirs(Peer peer) => peer switch
    {
        Peer.TorchSharp own => Ours(own.Arguments),
        Peer.Python script => Answer(Python, [Script(script.Arguments[0]), .. script.Arguments.Skip(1), "--seconds", Text(Seconds)]),
        _ => null,
    };

    /// <summary>The peer's versions.</summary>
    public string PeerVersions()
    {
        var versions = JsonSerializer.Deserialize<Dictionary<string, string>>(LastLine(Python, [Script("common.py")]))!;
        return string.Join(", ", versions.Select(v => $"{v.Key} {v.Value}"));
    }

    private static Measurement Answer(string program, IReadOnlyList<string> arguments) =>
        JsonSerializer.Deserialize<Measurement>(LastLine(program, arguments))!;

    private static string LastLine(string program, IReadOnlyList<string> arguments)
    {
        var info = new ProcessStartInfo(program) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (var argument in arguments)
        {
            info.ArgumentList.Add(argument);
        }

        Process started;
        try
        {
            started = Process.Start(info)!;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            throw new PeerMissingException(Advice);
        }

        using var process = started;
        var errors = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode switch
        {
            0 => output.Split('\n', StringSplitOptions.RemoveEmptyEntries)[^1],
            Missing => throw new PeerMissingException(errors.Result.Trim()),
            var code => throw new InvalidOperationException($"{program} {string.Join(' ', arguments)} ended with exit code {code}:\n{errors.Result}"),
        };
    }

    private string Script(string name) => Path.Combine(Root, "benchmarks", "peer", name);

    private static string Text(double value) => value.ToString(CultureInfo.InvariantCulture);
}
