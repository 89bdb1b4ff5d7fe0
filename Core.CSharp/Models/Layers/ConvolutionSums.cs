using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using SslResearch.Core.Runtime;
using static SslResearch.Core.Runtime.VectorMath;

namespace SslResearch.Core.Models.Layers;

/// <summary>The innermost loops of <see cref="ConvolutionKernels"/>: sums that stay in registers from their first term to their last.</summary>
internal static unsafe class ConvolutionSums
{
    /// <summary>Images, or outputs, that are worked on at once.</summary>
    public const int Group = 8;

    /// <summary>Channels that are worked on at once: 8 times 2 vectors of sums fit into 32 registers.</summary>
    public const int Panel = 2 * Lanes;

    /// <summary>
    /// Eight rows of C, <paramref name="cRow"/> apart, each the sum over taps of a row of A times a block of B: C = Σₜ A[row + inA(t)] · B[inB(t)].
    /// </summary>
    /// <param name="a">First of eight rows.</param>
    /// <param name="row">Distance of the rows.</param>
    /// <param name="taps">Offsets of the terms.</param>
    /// <param name="depth">Elements of A's rows.</param>
    /// <param name="b">Blocks (depth, width).</param>
    /// <param name="c">First row of the result.</param>
    /// <param name="cRow">Distance of its rows.</param>
    /// <param name="width"><see cref="Panel"/>, or half of it.</param>
    public static void Sum(float* a, long row, in Taps taps, int depth, float* b, float* c, long cRow, int width)
    {
        if (width == Panel)
        {
            SumsOfTwo(a, row, taps, depth, b, c, cRow);
        }
        else
        {
            SumsOfOne(a, row, taps, depth, b, c, cRow);
        }
    }

    /// <summary>Adds to <paramref name="sums"/> (8, width), over the pixels of a window, eight elements of A times a vector of B.</summary>
    /// <param name="a">Eight elements of the window's first pixel.</param>
    /// <param name="b">The vector of that pixel.</param>
    /// <param name="window">The pixels.</param>
    /// <param name="sums">Where it is added.</param>
    /// <param name="width"><see cref="Panel"/>, or half of it.</param>
    public static void AddProducts(float* a, float* b, in Window window, float* sums, int width)
    {
        if (width == Panel)
        {
            ProductsOfTwo(a, b, window, sums);
        }
        else
        {
            ProductsOfOne(a, b, window, sums);
        }
    }

    private static void SumsOfTwo(float* a, long row, in Taps taps, int depth, float* b, float* c, long cRow)
    {
        Vector512<float> s00 = default, s01 = default, s10 = default, s11 = default, s20 = default, s21 = default, s30 = default, s31 = default;
        Vector512<float> s40 = default, s41 = default, s50 = default, s51 = default, s60 = default, s61 = default, s70 = default, s71 = default;
        for (var t = 0; t < taps.Count; t++)
        {
            var a0 = a + taps.InA[t];
            var a1 = a0 + row;
            var a2 = a1 + row;
            var a3 = a2 + row;
            var a4 = a3 + row;
            var a5 = a4 + row;
            var a6 = a5 + row;
            var a7 = a6 + row;
            var p = b + taps.InB[t];
            for (var k = 0; k < depth; k++)
            {
                var b0 = Vector512.Load(p);
                var b1 = Vector512.Load(p + Lanes);
                var x = Vector512.Create(a0[k]);
                s00 = Vector512.FusedMultiplyAdd(x, b0, s00);
                s01 = Vector512.FusedMultiplyAdd(x, b1, s01);
                x = Vector512.Create(a1[k]);
                s10 = Vector512.FusedMultiplyAdd(x, b0, s10);
                s11 = Vector512.FusedMultiplyAdd(x, b1, s11);
                x = Vector512.Create(a2[k]);
                s20 = Vector512.FusedMultiplyAdd(x, b0, s20);
                s21 = Vector512.FusedMultiplyAdd(x, b1, s21);
                x = Vector512.Create(a3[k]);
                s30 = Vector512.FusedMultiplyAdd(x, b0, s30);
                s31 = Vector512.FusedMultiplyAdd(x, b1, s31);
                x = Vector512.Create(a4[k]);
                s40 = Vector512.FusedMultiplyAdd(x, b0, s40);
                s41 = Vector512.FusedMultiplyAdd(x, b1, s41);
                x = Vector512.Create(a5[k]);
                s50 = Vector512.FusedMultiplyAdd(x, b0, s50);
                s51 = Vector512.FusedMultiplyAdd(x, b1, s51);
                x = Vector512.Create(a6[k]);
                s60 = Vector512.FusedMultiplyAdd(x, b0, s60);
                s61 = Vector512.FusedMultiplyAdd(x, b1, s61);
                x = Vector512.Create(a7[k]);
                s70 = Vector512.FusedMultiplyAdd(x, b0, s70);
                s71 = Vector512.FusedMultiplyAdd(x, b1, s71);
                p += 2 * Lanes;
            }
        }

        Store(c, s00, s01);
        Store(c + cRow, s10, s11);
        Store(c + (2 * cRow), s20, s21);
        Store(c + (3 * cRow), s30, s31);
        Store(c + (4 * cRow), s40, s41);
        Store(c + (5 * cRow), s50, s51);
        Store(c + (6 * cRow), s60, s61);
        Store(c + (7 * cRow), s70, s71);
    }

    private static void SumsOfOne(float* a, long row, in Taps taps, int depth, float* b, float* c, long cRow)
    {
        Vector512<float> s00 = default, s10 = default, s20 = default, s30 = default;
        Vector512<float> s40 = default, s50 = default, s60 = default, s70 = default;
        for (var t = 0; t < taps.Count; t++)
        {
            var a0 = a + taps.InA[t];
            var a1 = a0 + row;
            var a2 = a1 + row;
            var a3 = a2 + row;
            var a4 = a3 + row;
            var a5 = a4 + row;
            var a6 = a5 + row;
            var a7 = a6 + row;
            var p = b + taps.InB[t];
            for (var k = 0; k < depth; k++)
            {
                var b0 = Vector512.Load(p);
                var x = Vector512.Create(a0[k]);
                s00 = Vector512.FusedMultiplyAdd(x, b0, s00);
                x = Vector512.Create(a1[k]);
                s10 = Vector512.FusedMultiplyAdd(x, b0, s10);
                x = Vector512.Create(a2[k]);
                s20 = Vector512.FusedMultiplyAdd(x, b0, s20);
                x = Vector512.Create(a3[k]);
                s30 = Vector512.FusedMultiplyAdd(x, b0, s30);
                x = Vector512.Create(a4[k]);
                s40 = Vector512.FusedMultiplyAdd(x, b0, s40);
                x = Vector512.Create(a5[k]);
                s50 = Vector512.FusedMultiplyAdd(x, b0, s50);
                x = Vector512.Create(a6[k]);
                s60 = Vector512.FusedMultiplyAdd(x, b0, s60);
                x = Vector512.Create(a7[k]);
                s70 = Vector512.FusedMultiplyAdd(x, b0, s70);
                p += Lanes;
            }
        }

        Store(c, s00);
        Store(c + cRow, s10);
        Store(c + (2 * cRow), s20);
        Store(c + (3 * cRow), s30);
        Store(c + (4 * cRow), s40);
        Store(c + (5 * cRow), s50);
        Store(c + (6 * cRow), s60);
        Store(c + (7 * cRow), s70);
    }

    private static void ProductsOfTwo(float* a, float* b, in Window window, float* sums)
    {
        Vector512<float> s00 = default, s01 = default, s10 = default, s11 = default, s20 = default, s21 = default, s30 = default, s31 = default;
        Vector512<float> s40 = default, s41 = default, s50 = default, s51 = default, s60 = default, s61 = default, s70 = default, s71 = default;
        for (var image = 0; image < window.Images; image++)
        {
            for (var line = 0; line < window.Lines; line++)
            {
                var p = a + (image * window.ImageInA) + (line * window.LineInA);
                var q = b + (image * window.ImageInB) + (line * window.LineInB);
                for (var pixel = 0; pixel < window.Pixels; pixel++)
                {
                    var b0 = Vector512.Load(q);
                    var b1 = Vector512.Load(q + Lanes);
                    var x = Vector512.Create(p[0]);
                    s00 = Vector512.FusedMultiplyAdd(x, b0, s00);
                    s01 = Vector512.FusedMultiplyAdd(x, b1, s01);
                    x = Vector512.Create(p[1]);
                    s10 = Vector512.FusedMultiplyAdd(x, b0, s10);
                    s11 = Vector512.FusedMultiplyAdd(x, b1, s11);
                    x = Vector512.Create(p[2]);
                    s20 = Vector512.FusedMultiplyAdd(x, b0, s20);
                    s21 = Vector512.FusedMultiplyAdd(x, b1, s21);
                    x = Vector512.Create(p[3]);
                    s30 = Vector512.FusedMultiplyAdd(x, b0, s30);
                    s31 = Vector512.FusedMultiplyAdd(x, b1, s31);
                    x = Vector512.Create(p[4]);
                    s40 = Vector512.FusedMultiplyAdd(x, b0, s40);
                    s41 = Vector512.FusedMultiplyAdd(x, b1, s41);
                    x = Vector512.Create(p[5]);
                    s50 = Vector512.FusedMultiplyAdd(x, b0, s50);
                    s51 = Vector512.FusedMultiplyAdd(x, b1, s51);
                    x = Vector512.Create(p[6]);
                    s60 = Vector512.FusedMultiplyAdd(x, b0, s60);
                    s61 = Vector512.FusedMultiplyAdd(x, b1, s61);
                    x = Vector512.Create(p[7]);
                    s70 = Vector512.FusedMultiplyAdd(x, b0, s70);
                    s71 = Vector512.FusedMultiplyAdd(x, b1, s71);
                    p += window.PixelInA;
                    q += window.PixelInB;
                }
            }
        }

        Add(sums, s00, s01);
        Add(sums + (2 * Lanes), s10, s11);
        Add(sums + (4 * Lanes), s20, s21);
        Add(sums + (6 * Lanes), s30, s31);
        Add(sums + (8 * Lanes), s40, s41);
        Add(sums + (10 * Lanes), s50, s51);
        Add(sums + (12 * Lanes), s60, s61);
        Add(sums + (14 * Lanes), s70, s71);
    }

    private static void ProductsOfOne(float* a, float* b, in Window window, float* sums)
    {
        Vector512<float> s00 = default, s10 = default, s20 = default, s30 = default;
        Vector512<float> s40 = default, s50 = default, s60 = default, s70 = default;
        for (var image = 0; image < window.Images; image++)
        {
            for (var line = 0; line < window.Lines; line++)
            {
                var p = a + (image * window.ImageInA) + (line * window.LineInA);
                var q = b + (image * window.ImageInB) + (line * window.LineInB);
                for (var pixel = 0; pixel < window.Pixels; pixel++)
                {
                    var b0 = Vector512.Load(q);
                    var x = Vector512.Create(p[0]);
                    s00 = Vector512.FusedMultiplyAdd(x, b0, s00);
                    x = Vector512.Create(p[1]);
                    s10 = Vector512.FusedMultiplyAdd(x, b0, s10);
                    x = Vector512.Create(p[2]);
                    s20 = Vector512.FusedMultiplyAdd(x, b0, s20);
                    x = Vector512.Create(p[3]);
                    s30 = Vector512.FusedMultiplyAdd(x, b0, s30);
                    x = Vector512.Create(p[4]);
                    s40 = Vector512.FusedMultiplyAdd(x, b0, s40);
                    x = Vector512.Create(p[5]);
                    s50 = Vector512.FusedMultiplyAdd(x, b0, s50);
                    x = Vector512.Create(p[6]);
                    s60 = Vector512.FusedMultiplyAdd(x, b0, s60);
                    x = Vector512.Create(p[7]);
                    s70 = Vector512.FusedMultiplyAdd(x, b0, s70);
                    p += window.PixelInA;
                    q += window.PixelInB;
                }
            }
        }

        Add(sums, s00);
        Add(sums + Lanes, s10);
        Add(sums + (2 * Lanes), s20);
        Add(sums + (3 * Lanes), s30);
        Add(sums + (4 * Lanes), s40);
        Add(sums + (5 * Lanes), s50);
        Add(sums + (6 * Lanes), s60);
        Add(sums + (7 * Lanes), s70);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add(float* c, Vector512<float> x) => (Vector512.Load(c) + x).Store(c);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add(float* c, Vector512<float> x, Vector512<float> y)
    {
        Add(c, x);
        Add(c + Lanes, y);
    }

    /// <summary>Where the terms of a sum lie: offsets of source pixels and of their weights.</summary>
    public struct Taps
    {
        public int Count;
        public long* InA;
        public long* InB;
    }

    /// <summary>A window of pixels of several images, in two tensors.</summary>
    public struct Window
    {
        public int Images;
        public int Lines;
        public int Pixels;
        public long ImageInA;
        public long LineInA;
        public long PixelInA;
        public long ImageInB;
        public long LineInB;
        public long PixelInB;
    }
}
