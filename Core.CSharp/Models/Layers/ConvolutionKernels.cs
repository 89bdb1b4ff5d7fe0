using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using SslResearch.Core.Runtime;
using static SslResearch.Core.Models.Layers.ConvolutionSums;

namespace SslResearch.Core.Models.Layers;

/// <summary>
/// The loops of a convolution over images whose channels lie innermost. Forward and towards the input, eight images are worked on at once at the same
/// pixel, so that all have the same neighbours and what lies beyond the border costs nothing; towards the weights, eight outputs and a window of pixels.
/// Every sum runs in an order of its own, so results do not depend on the number of threads.
/// </summary>
internal static unsafe class ConvolutionKernels
{
    // Pixels whose products are added up before they join the sum over the batch.
    private const int PixelsAtOnce = 128;

    /// <summary>Sizes of a convolution.</summary>
    public struct Shape
    {
        public int Images;
        public int Inputs;
        public int Height;
        public int Width;
        public int Outputs;
        public int OutHeight;
        public int OutWidth;
        public int Kernel;
        public int Stride;
        public int Padding;

        public readonly int Area => Kernel * Kernel;

        public readonly long InputImage => (long)Height * Width * Inputs;

        public readonly long OutputImage => (long)OutHeight * OutWidth * Outputs;

        public readonly int Groups => (Images + Group - 1) / Group;

        /// <summary>First image of a group; the last group takes images of the one before again where it is not full.</summary>
        public readonly int First(int group) => Math.Min(group * Group, Images - Group);
    }

    /// <summary>Weights as the passes read them: panels of target channels, in each all taps, in each all source channels.</summary>
    public struct Packed : IRangeKernel
    {
        public float* Weight;
        public float* Into;
        public int Sources;
        public int Targets;
        public int Area;
        public long SourceStep;
        public long TargetStep;

        /// <summary>(out, k, k, in) for the forward pass.</summary>
        public static Packed Forward(in Shape s, float* weight, float* into) =>
            new() { Weight = weight, Into = into, Sources = s.Inputs, Targets = s.Outputs, Area = s.Area, SourceStep = 1, TargetStep = (long)s.Area * s.Inputs };

        /// <summary>The same weights for the pass towards the input.</summary>
        public static Packed Backward(in Shape s, float* weight, float* into) =>
            new() { Weight = weight, Into = into, Sources = s.Outputs, Targets = s.Inputs, Area = s.Area, SourceStep = (long)s.Area * s.Inputs, TargetStep = 1 };

        public readonly int Items => (Targets + Panel - 1) / Panel * Area;

        private readonly int TapStep => (int)(TargetStep == 1 ? Targets : Sources);

        public readonly void Run(int from, int to)
        {
            for (var item = from; item < to; item++)
            {
                var (first, tap) = (item / Area * Panel, item % Area);
                var width = Math.Min(Panel, Targets - first);
                var source = Weight + ((long)tap * TapStep) + (first * TargetStep);
                var target = Into + ((long)first * Area * Sources) + ((long)tap * Sources * width);
                for (var start = 0; start < Sources; start += VectorMath.Lanes)
                {
                    for (var t = 0; t < width; t++)
                    {
                        for (var s = start; s < start + VectorMath.Lanes; s++)
                        {
                            target[(s * width) + t] = source[(s * SourceStep) + (t * TargetStep)];
                        }
                    }
                }
            }
        }
    }

    /// <summary>y = x ∗ w, or ∂/∂x from ∂/∂y; items are groups of images.</summary>
    public struct Pass : IRangeKernel
    {
        public Shape Shape;
        public float* Source;
        public float* Weight;
        public float* Target;
        public bool TowardsInput;

        [SkipLocalsInit]
        public readonly void Run(int from, int to)
        {
            var inA = stackalloc long[Shape.Area];
            var inB = stackalloc long[Shape.Area];
            var taps = new Taps { InA = inA, InB = inB };
            var (sources, targets) = TowardsInput ? (Shape.Outputs, Shape.Inputs) : (Shape.Inputs, Shape.Outputs);
            var (sourceImage, targetImage) = TowardsInput ? (Shape.OutputImage, Shape.InputImage) : (Shape.InputImage, Shape.OutputImage);
            var (lines, columns) = TowardsInput ? (Shape.Height, Shape.Width) : (Shape.OutHeight, Shape.OutWidth);
            for (var group = from; group < to; group++)
            {
                var source = Source + (Shape.First(group) * sourceImage);
                var target = Target + (Shape.First(group) * targetImage);
                for (var panel = 0; panel < targets; panel += Panel)
                {
                    var width = Math.Min(Panel, targets - panel);
                    var weight = Weight + ((long)panel * Shape.Area * sources);
                    for (var pixel = 0; pixel < lines * columns; pixel++)
                    {
                        Find(pixel / columns, pixel % columns, sources * width, ref taps);
                        Sum(source, sourceImage, taps, sources, weight, target + ((long)pixel * targets) + panel, targetImage, width);
                    }
                }
            }
        }

        /// <summary>The source pixels that a target pixel is made of.</summary>
        private readonly void Find(int row, int column, int block, ref Taps taps)
        {
            taps.Count = 0;
            for (var i = 0; i < Shape.Kernel; i++)
            {
                for (var j = 0; j < Shape.Kernel; j++)
                {
                    var place = TowardsInput ? SeenBy(row, column, i, j) : Seen(row, column, i, j);
                    if (place >= 0)
                    {
                        taps.InA[taps.Count] = place;
                        taps.InB[taps.Count++] = ((long)(i * Shape.Kernel) + j) * block;
                    }
                }
            }
        }

        /// <summary>Offset of the input pixel that an output pixel sees through a tap; -1 beyond the border.</summary>
        private readonly long Seen(int row, int column, int i, int j)
        {
            var line = (row * Shape.Stride) + i - Shape.Padding;
            var place = (column * Shape.Stride) + j - Shape.Padding;
            return (uint)line < (uint)Shape.Height && (uint)place < (uint)Shape.Width ? (((long)line * Shape.Width) + place) * Shape.Inputs : -1;
        }

        /// <summary>Offset of the output pixel that sees an input pixel through a tap; -1 for none.</summary>
        private readonly long SeenBy(int row, int column, int i, int j)
        {
            var (line, offLine) = Math.DivRem(row + Shape.Padding - i, Shape.Stride);
            var (place, offPlace) = Math.DivRem(column + Shape.Padding - j, Shape.Stride);
            return offLine == 0 && offPlace == 0 && (uint)line < (uint)Shape.OutHeight && (uint)place < (uint)Shape.OutWidth
                ? (((long)line * Shape.OutWidth) + place) * Shape.Outputs
                : -1;
        }
    }

    /// <summary>∂/∂w (out, k, k, in); items are eight outputs with a panel of inputs at one tap.</summary>
    public struct ToWeight : IRangeKernel
    {
        public Shape Shape;
        public float* X;
        public float* Gradient;
        public float* Dw;

        public readonly int Items => Shape.Outputs / Group * Panels * Shape.Area;

        private readonly int Panels => (Shape.Inputs + Panel - 1) / Panel;

        public readonly void Run(int from, int to)
        {
            // Images pass by once for all items of a thread, a few at a time.
            const int size = Group * Panel;
            var sums = VectorMath.Allocate((to - from) * size);
            new Span<float>(sums, (to - from) * size).Clear();
            var images = Math.Max(1, PixelsAtOnce / (Shape.OutHeight * Shape.OutWidth));
            for (var image = 0; image < Shape.Images; image += images)
            {
                for (var item = from; item < to; item++)
                {
                    Add(item, image, Math.Min(images, Shape.Images - image), sums + ((long)(item - from) * size));
                }
            }

            for (var item = from; item < to; item++)
            {
                Copy(item, sums + ((long)(item - from) * size));
            }

            NativeMemory.AlignedFree(sums);
        }

        private readonly (int Output, int Input, int Width, int Tap) Place(int item)
        {
            var (tap, block) = (item % Shape.Area, item / Shape.Area);
            var input = block % Panels * Panel;
            return (block / Panels * Group, input, Math.Min(Panel, Shape.Inputs - input), tap);
        }

        private readonly void Add(int item, int image, int images, float* sums)
        {
            var (output, input, width, tap) = Place(item);
            var (firstLine, lines) = Seen(Shape.Height, Shape.OutHeight, tap / Shape.Kernel);
            var (firstPixel, pixels) = Seen(Shape.Width, Shape.OutWidth, tap % Shape.Kernel);
            var line = (firstLine * Shape.Stride) + (tap / Shape.Kernel) - Shape.Padding;
            var pixel = (firstPixel * Shape.Stride) + (tap % Shape.Kernel) - Shape.Padding;
            var a = Gradient + (image * Shape.OutputImage) + ((((long)firstLine * Shape.OutWidth) + firstPixel) * Shape.Outputs) + output;
            var b = X + (image * Shape.InputImage) + ((((long)line * Shape.Width) + pixel) * Shape.Inputs) + input;
            var window = new Window
            {
                Images = images,
                Lines = lines,
                Pixels = pixels,
                ImageInA = Shape.OutputImage,
                LineInA = (long)Shape.OutWidth * Shape.Outputs,
                PixelInA = Shape.Outputs,
                ImageInB = Shape.InputImage,
                LineInB = (long)Shape.Stride * Shape.Width * Shape.Inputs,
                PixelInB = (long)Shape.Stride * Shape.Inputs,
            };
            AddProducts(a, b, window, sums, width);
        }

        /// <summary>The output lines (or columns) whose tap lies inside the image: the first, and how many.</summary>
        private readonly (int First, int Count) Seen(int size, int outSize, int tap)
        {
            var offset = tap - Shape.Padding;
            var first = offset >= 0 ? 0 : (-offset + Shape.Stride - 1) / Shape.Stride;
            var last = size - 1 - offset < 0 ? -1 : Math.Min(outSize - 1, (size - 1 - offset) / Shape.Stride);
            return (first, Math.Max(0, last - first + 1));
        }

        private readonly void Copy(int item, float* sums)
        {
            var (output, input, width, tap) = Place(item);
            for (var i = 0; i < Group; i++)
            {
                var target = Dw + ((((long)(output + i) * Shape.Area) + tap) * Shape.Inputs) + input;
                NativeMemory.Copy(sums + (i * width), target, (nuint)width * sizeof(float));
            }
        }
    }
}
