using System.Text.Json.Serialization;

namespace SslResearch.Benchmarks;

/// <summary>What one side of a case answers: one JSON line on standard output.</summary>
/// <param name="Rate">Median of the windows.</param>
/// <param name="Unit">Of the rate.</param>
/// <param name="Windows">Each window's rate.</param>
internal sealed record Measurement(
    [property: JsonPropertyName("rate")] double Rate,
    [property: JsonPropertyName("unit")] string Unit,
    [property: JsonPropertyName("windows")] IReadOnlyList<double> Windows)
{
    public static Measurement Of(string unit, IReadOnlyList<double> windows) => new(Statistics.Median(windows), unit, windows);
}
