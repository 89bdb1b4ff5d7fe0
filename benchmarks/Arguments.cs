using System.Globalization;

namespace SslResearch.Benchmarks;

/// <summary>Command line: words, and options of one value each.</summary>
internal sealed class Arguments
{
    private static readonly string[] Known = ["--rounds", "--seconds", "--steps", "--python"];
    private readonly Dictionary<string, string> options = [];

    /// <exception cref="ArgumentException">Unknown option, or one without its value.</exception>
    public Arguments(IReadOnlyList<string> args)
    {
        for (var i = 0; i < args.Count; i++)
        {
            if (!args[i].StartsWith("--", StringComparison.Ordinal))
            {
                Words.Add(args[i]);
            }
            else if (Known.Contains(args[i]) && i + 1 < args.Count)
            {
                options[args[i]] = args[++i];
            }
            else
            {
                throw new ArgumentException($"{args[i]}: options are {string.Join(", ", Known)}, each with a value.");
            }
        }
    }

    public List<string> Words { get; } = [];

    public string Text(string option, string otherwise) => options.GetValueOrDefault(option, otherwise);

    public double Number(string option, double otherwise)
    {
        if (!options.TryGetValue(option, out var text))
        {
            return otherwise;
        }

        return double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var value) && value > 0
            ? value
            : throw new ArgumentException($"{option} {text}: a positive number is needed.");
    }
}
