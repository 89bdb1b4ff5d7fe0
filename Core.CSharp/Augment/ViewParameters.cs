using System.Runtime.CompilerServices;

namespace SslResearch.Core.Augment;

/// <summary>Everything that was drawn for one view: the pixels of the view are a function of the image and of this. Equal by value.</summary>
public struct ViewParameters : IEquatable<ViewParameters>
{
    /// <summary>Most operations that one pipeline can have.</summary>
    public const int Capacity = 12;

    private Draws draws;

    /// <summary>Number of operations.</summary>
    public int Count { readonly get; init; }

    /// <summary>What operation <paramref name="index"/> drew.</summary>
    public OpDraw this[int index]
    {
        readonly get => draws[Checked(index)];
        set => draws[Checked(index)] = value;
    }

    /// <summary>Equal draws.</summary>
    public static bool operator ==(ViewParameters left, ViewParameters right) => left.Equals(right);

    /// <summary>Other draws.</summary>
    public static bool operator !=(ViewParameters left, ViewParameters right) => !left.Equals(right);

    /// <inheritdoc/>
    public readonly bool Equals(ViewParameters other)
    {
        if (Count != other.Count)
        {
            return false;
        }

        for (var i = 0; i < Count; i++)
        {
            if (draws[i] != other.draws[i])
            {
                return false;
            }
        }

        return true;
    }

    /// <inheritdoc/>
    public override readonly bool Equals(object? obj) => obj is ViewParameters other && Equals(other);

    /// <inheritdoc/>
    public override readonly int GetHashCode() => Count == 0 ? 0 : HashCode.Combine(Count, draws[0], draws[Count - 1]);

    private readonly int Checked(int index) => (uint)index < (uint)Count
        ? index
        : throw new ArgumentOutOfRangeException(nameof(index), index, $"there are {Count} operations");

    [InlineArray(Capacity)]
    private struct Draws
    {
        private OpDraw first;
    }
}
