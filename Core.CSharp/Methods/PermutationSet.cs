using System.Numerics;

namespace SslResearch.Core.Methods;

/// <summary>
/// Permutations that differ as much as possible (Noroozi and Favaro 2016, algorithm 1: greedily the permutation with the largest mean Hamming
/// distance to those chosen). The paper leaves the first one and ties to chance; here the first is the identity, ties go to the largest
/// least distance, then to the first in lexicographic order: the set is the same always and everywhere.
/// </summary>
public static class PermutationSet
{
    private const int MostItems = 9;

    /// <summary>The set.</summary>
    /// <param name="count">How many, 1 to items!.</param>
    /// <param name="items">Length of each, 1 to 9.</param>
    /// <returns>Distinct permutations of 0 … items−1.</returns>
    /// <exception cref="ArgumentOutOfRangeException">No such set.</exception>
    public static IReadOnlyList<int[]> Create(int count, int items)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(items, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(items, MostItems);
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        var all = All(items);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, all.Length);
        var total = new int[all.Length]; // sum of the distances to those chosen; −1 once chosen
        var least = new byte[all.Length];
        Array.Fill(least, byte.MaxValue);
        var chosen = new List<int[]>(count);
        var next = 0;
        while (true)
        {
            chosen.Add(Unpack(all[next], items));
            total[next] = -1;
            if (chosen.Count == count)
            {
                return chosen;
            }

            var last = all[next];
            var best = -1;
            for (var i = 0; i < all.Length; i++)
            {
                if (total[i] < 0)
                {
                    continue;
                }

                var distance = Distance(all[i], last);
                total[i] += distance;
                least[i] = (byte)Math.Min(least[i], distance);
                if (best < 0 || total[i] > total[best] || (total[i] == total[best] && least[i] > least[best]))
                {
                    best = i;
                }
            }

            next = best;
        }
    }

    /// <summary>Places that differ: nibbles of the difference that are not zero.</summary>
    private static int Distance(ulong a, ulong b)
    {
        var x = a ^ b;
        x |= x >> 2;
        x |= x >> 1;
        return BitOperations.PopCount(x & 0x1111_1111_1111_1111);
    }

    /// <summary>All permutations in lexicographic order, four bits an item, the first item lowest.</summary>
    private static ulong[] All(int items)
    {
        var result = new List<ulong>();
        void Extend(ulong packed, int place, int used)
        {
            if (place == items)
            {
                result.Add(packed);
                return;
            }

            for (var item = 0; item < items; item++)
            {
                if ((used & (1 << item)) == 0)
                {
                    Extend(packed | ((ulong)item << (4 * place)), place + 1, used | (1 << item));
                }
            }
        }

        Extend(0, 0, 0);
        return [.. result];
    }

    private static int[] Unpack(ulong packed, int items) => [.. Enumerable.Range(0, items).Select(i => (int)(packed >> (4 * i)) & 15)];
}
