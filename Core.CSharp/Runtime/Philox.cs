using System.Runtime.CompilerServices;

namespace SslResearch.Core.Runtime;

/// <summary>
/// Philox 4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): randomness as a pure function of position.
/// The key is the run's seed; the counter holds (purpose, epoch, sample, stream, block).
/// </summary>
public struct Philox
{
    private readonly uint key0, key1, word0, word1, word2;
    private uint counter;
    private uint r0, r1, r2, r3;
    private int left;

    /// <summary>The generator at one position.</summary>
    /// <param name="seed">Seed of the run.</param>
    /// <param name="purpose">What the numbers are for: purposes never share numbers.</param>
    /// <param name="epoch">Epoch, step or another coarse coordinate, below 2^32.</param>
    /// <param name="sample">Image or another fine coordinate, below 2^32.</param>
    /// <param name="stream">View and operation, below 2^16.</param>
    public Philox(ulong seed, RandomPurpose purpose, uint epoch = 0, uint sample = 0, ushort stream = 0)
    {
        key0 = (uint)seed;
        key1 = (uint)(seed >> 32);
        word0 = epoch;
        word1 = sample;
        word2 = ((uint)purpose << 16) | stream;
        counter = 0;
        r0 = r1 = r2 = r3 = 0;
        left = 0;
    }

    /// <summary>The next 32 random bits.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public uint NextUInt32()
    {
        if (left == 0)
        {
            Refill();
        }

        return left-- switch { 4 => r0, 3 => r1, 2 => r2, _ => r3 };
    }

    /// <summary>Uniform on [0, 1), 24 bits.</summary>
    public float NextSingle() => (NextUInt32() >> 8) * (1f / (1 << 24));

    /// <summary>Uniform on [0, 1), 53 bits.</summary>
    public double NextDouble() => (((ulong)NextUInt32() << 21) ^ (NextUInt32() >> 11)) * (1.0 / (1UL << 53));

    /// <summary>Uniform on [low, high).</summary>
    public double NextDouble(double low, double high) => low + ((high - low) * NextDouble());

    /// <summary>Uniform on 0 … bound-1, without modulo bias (Lemire 2019, multiply and reject).</summary>
    public uint NextBelow(uint bound)
    {
        ArgumentOutOfRangeException.ThrowIfZero(bound);
        var threshold = (uint)(-(int)bound) % bound;
        while (true)
        {
            var product = (ulong)NextUInt32() * bound;
            if ((uint)product >= threshold)
            {
                return (uint)(product >> 32);
            }
        }
    }

    /// <summary>Standard normal (Box and Muller 1958).</summary>
    public double NextGaussian() =>
        Math.Sqrt(-2 * Math.Log(1 - NextDouble())) * Math.Cos(2 * Math.PI * NextDouble());

    /// <summary>A permutation of 0 … items.Length-1 (Fisher and Yates).</summary>
    public void Permutation(Span<int> items)
    {
        for (var i = 0; i < items.Length; i++)
        {
            var j = (int)NextBelow((uint)i + 1);
            items[i] = items[j];
            items[j] = i;
        }
    }

    /// <summary>The ten rounds, exposed so that published test vectors can be checked.</summary>
    public static (uint A, uint B, uint C, uint D) Block(uint c0, uint c1, uint c2, uint c3, uint k0, uint k1)
    {
        for (var round = 0; round < 10; round++)
        {
            var p0 = 0xD2511F53UL * c0;
            var p1 = 0xCD9E8D57UL * c2;
            (c0, c1, c2, c3) = ((uint)(p1 >> 32) ^ c1 ^ k0, (uint)p1, (uint)(p0 >> 32) ^ c3 ^ k1, (uint)p0);
            k0 += 0x9E3779B9;
            k1 += 0xBB67AE85;
        }

        return (c0, c1, c2, c3);
    }

    private void Refill()
    {
        (r0, r1, r2, r3) = Block(counter++, word0, word1, word2, key0, key1);
        left = 4;
    }
}
