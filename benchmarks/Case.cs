namespace SslResearch.Benchmarks;

/// <summary>One line of the result table.</summary>
/// <param name="Letter">What a person calls it and its like by.</param>
/// <param name="Name">What a person calls it alone by; unique.</param>
/// <param name="Title">For the table.</param>
/// <param name="Ours">Arguments of our side; see <see cref="OurSide"/>.</param>
/// <param name="Peer">Who is compared with.</param>
/// <param name="Goal">What is asked of the result.</param>
/// <param name="Once">Whether one round is enough, however many are asked for: where a round is as long as many.</param>
internal sealed record Case(string Letter, string Name, string Title, IReadOnlyList<string> Ours, Peer Peer, Goal Goal, bool Once = false)
{
    /// <summary>Whether a person who says <paramref name="word"/> means it.</summary>
    public bool Is(string word) => word == Letter || word == Name;
}

/// <summary>The other side of a case.</summary>
/// <param name="Title">For the table.</param>
internal abstract record Peer(string Title)
{
    /// <summary>None: the measured value is judged by itself.</summary>
    public sealed record None() : Peer("");

    /// <summary>TorchSharp's own parts, measured by this program.</summary>
    public sealed record TorchSharp(string Title, IReadOnlyList<string> Arguments) : Peer(Title);

    /// <summary>A script under benchmarks/peer.</summary>
    public sealed record Python(string Title, IReadOnlyList<string> Arguments) : Peer(Title);
}

/// <summary>What is asked of a result.</summary>
/// <param name="Text">For the table.</param>
/// <param name="Holds">Whether the median (of the ratios, or of the value itself) is good enough.</param>
internal sealed record Goal(string Text, Func<double, bool> Holds)
{
    public static Goal Ratio(double least) => new(FormattableString.Invariant($"≥ {least}×"), v => v >= least);

    public static Goal Percent(double most) => new(FormattableString.Invariant($"≤ {most} %"), v => v <= most);
}
