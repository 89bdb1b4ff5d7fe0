namespace SslResearch.Core.Augment;

/// <summary>One image on its way into a batch, and the coordinates that all its randomness is a function of.</summary>
public readonly ref struct Sample
{
    /// <summary>(H, W, C) uint8.</summary>
    public required ReadOnlySpan<byte> Pixels { get; init; }

    /// <summary>Class of the image; -1 where there is none.</summary>
    public required int Label { get; init; }

    /// <summary>Seed of the run.</summary>
    public required ulong Seed { get; init; }

    /// <summary>Epoch, from 0.</summary>
    public required int Epoch { get; init; }

    /// <summary>Position of the image in its dataset.</summary>
    public required long Index { get; init; }

    /// <summary>Position of the image in its batch.</summary>
    public required int Slot { get; init; }
}
