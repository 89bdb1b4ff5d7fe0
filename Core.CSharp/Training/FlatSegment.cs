namespace SslResearch.Core.Training;

/// <summary>Where one parameter lies in a flat buffer.</summary>
/// <param name="Name">Prefix and name of the parameter, for example <c>encoder.stem.weight</c>.</param>
/// <param name="Offset">First element; a multiple of <see cref="FlatParameters.Alignment"/>.</param>
/// <param name="Count">Elements, padding not counted.</param>
/// <param name="Shape">Sizes.</param>
/// <param name="Strides">Strides in elements: what channels-last weights carry.</param>
/// <param name="IsNormOrBias">At most one dimension: a bias or a normalisation parameter (the rule of DINO and timm).</param>
public sealed record FlatSegment(string Name, long Offset, long Count, IReadOnlyList<long> Shape, IReadOnlyList<long> Strides, bool IsNormOrBias)
{
    /// <summary>Whether its learning rate stays at the peak.</summary>
    public bool HasHeldRate { get; init; }

    /// <summary>First element behind the segment and its padding.</summary>
    public long End => Offset + FlatParameters.Padded(Count);
}
