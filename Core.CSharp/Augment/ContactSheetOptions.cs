namespace SslResearch.Core.Augment;

/// <summary>What a contact sheet shows.</summary>
/// <param name="Title">Line at the top.</param>
/// <param name="Indices">Images, one per row of the sheet.</param>
/// <param name="Seed">Seed of the run: the views are those that it will see.</param>
/// <param name="Epochs">Epochs whose views are shown, side by side.</param>
public sealed record ContactSheetOptions(string Title, IReadOnlyList<long> Indices, ulong Seed, IReadOnlyList<int> Epochs);
