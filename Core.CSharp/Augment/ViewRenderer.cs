using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using SslResearch.Core.Data;

namespace SslResearch.Core.Augment;

/// <summary>One rendering: leading geometry in one resampling, pixel steps gathered into as few passes as their means allow.</summary>
internal unsafe ref struct ViewRenderer(Workspace space, int channels, bool scalar, bool overshoot)
{
    private int height, width, points;

    private readonly int PlaneStride => WorkspaceNeed.Plane(height, width);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Run(
        ReadOnlySpan<byte> pixels, ImageShape source, ViewOp[] ops, in ViewParameters parameters, ReadOnlySpan<float> scaleBias, Span<float> view)
    {
        var leading = Load(pixels, source, ops, parameters);
        for (var i = 0; i < ops.Length; i++)
        {
            var draw = parameters[i];
            if (draw.Applied && (i >= leading || !IsGeometry(ops[i])))
            {
                Step(ops[i], draw);
            }
        }

        fixed (float* target = view, last = scaleBias)
        {
            Flush(target, height * width, last);
        }
    }

    private static bool IsGeometry(ViewOp op) => op is ResizedCrop or Flip or VerticalFlip;

    /// <summary>
    /// Reads the image with the first crop and every mirroring up to the next turn or crop; mirrorings commute with all pixel steps and
    /// blurs, a crop does not. Returns the first operation that is not covered.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private int Load(ReadOnlySpan<byte> pixels, ImageShape source, ViewOp[] ops, in ViewParameters parameters)
    {
        var box = new OpDraw { Height = source.Height, Width = source.Width };
        ResizedCrop? crop = null;
        var (mirrorX, mirrorY, onlyGeometry, end) = (false, false, true, 0);
        for (; end < ops.Length; end++)
        {
            var draw = parameters[end];
            switch (ops[end])
            {
                case ResizedCrop first when crop is null && onlyGeometry:
                    crop = first;
                    box = draw with
                    {
                        Left = mirrorX ? source.Width - draw.Left - draw.Width : draw.Left,
                        Top = mirrorY ? source.Height - draw.Top - draw.Height : draw.Top,
                    };
                    continue;
                case Flip:
                    mirrorX ^= draw.Applied;
                    continue;
                case VerticalFlip:
                    mirrorY ^= draw.Applied;
                    continue;
                case ResizedCrop or Rotate90:
                    break;
                default:
                    onlyGeometry = false;
                    continue;
            }

            break;
        }

        height = crop?.Height ?? source.Height;
        width = crop?.Width ?? source.Width;
        CheckBox(box, source.Height, source.Width);
        Resample(pixels, source.Width, box, crop?.Mode ?? Interpolation.Bilinear, mirrorX, mirrorY);
        return end;
    }

    private void Step(ViewOp op, in OpDraw draw)
    {
        switch (op)
        {
            case Jitter jitter:
                for (var i = 0; i < 4; i++)
                {
                    AddJitter(jitter, draw, draw.StepAt(i));
                }

                break;
            case Gray:
                Add(new PointOp(PointKind.Gray, 0));
                break;
            case Solarize solarize:
                Add(new PointOp(PointKind.Solarize, solarize.Threshold));
                break;
            case Blur:
                FlushInPlace();
                Smooth(Filter.Box(draw.Sigma, new Span<float>(space.Half, WorkspaceNeed.HalfFloats)), Filter.BoxPasses, bytes: true);
                break;
            case KernelBlur blur:
                FlushInPlace();
                Smooth(Filter.Gaussian(blur.Size, draw.Sigma, new Span<float>(space.Half, WorkspaceNeed.HalfFloats)), 1, bytes: false);
                break;
            case Rotate90:
                FlushInPlace();
                Turn(draw.Turns);
                break;
            case Flip or VerticalFlip or ResizedCrop:
                FlushInPlace();
                Rework(op as ResizedCrop, draw, op is Flip, op is VerticalFlip);
                break;
            default:
                throw new NotSupportedException($"no kernel for {op.GetType().Name}");
        }
    }

    private void AddJitter(Jitter jitter, in OpDraw draw, int step)
    {
        switch (step)
        {
            case 0 when jitter.Brightness > 0:
                Add(new PointOp(PointKind.Brightness, draw.Brightness));
                break;
            case 1 when jitter.Contrast > 0:
                Add(new PointOp(PointKind.Contrast, draw.Contrast));
                break;
            case 2 when jitter.Saturation > 0:
                Add(new PointOp(PointKind.Saturation, draw.Saturation));
                break;
            case 3 when jitter.Hue > 0:
                Add(new PointOp(PointKind.Hue, 6 * draw.Hue));
                break;
        }
    }

    private void Add(PointOp op) => space.Points[points++] = op;

    private void FlushInPlace()
    {
        if (points > 0)
        {
            Flush(space.Planes, PlaneStride, null);
        }
    }

    /// <summary>Runs the gathered steps; a contrast step ends a pass, since it needs the mean of what came before it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Flush(float* target, int targetStride, float* scaleBias)
    {
        var from = 0;
        for (var i = 0; i < points; i++)
        {
            if (space.Points[i].Kind == PointKind.Contrast)
            {
                var sum = Pass(from, i, space.Planes, PlaneStride, null);
                var factor = space.Points[i].A;
                space.Points[i] = new PointOp(PointKind.Contrast, factor, (float)((1 - factor) * sum / (height * width)));
                from = i;
            }
        }

        Pass(from, points, target, targetStride, scaleBias);
        points = 0;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly double Pass(int from, int to, float* target, int targetStride, float* scaleBias)
    {
        var program = space.Points.AsSpan(from, to - from);
        return scalar
            ? ScalarKernels.Points(space.Planes, PlaneStride, target, targetStride, height * width, channels, program, scaleBias)
            : VectorKernels.Points(space.Planes, PlaneStride, target, targetStride, height * width, channels, program, scaleBias, space.Tail);
    }

    private static void CheckBox(in OpDraw box, int height, int width)
    {
        if (box.Top < 0 || box.Left < 0 || box.Height < 1 || box.Width < 1 || box.Top + box.Height > height || box.Left + box.Width > width)
        {
            throw new ArgumentException($"crop {box.Width}x{box.Height} at {box.Left},{box.Top} leaves the image of {width}x{height}");
        }
    }

    /// <summary>The box of the stored image, resampled to (height, width), into the planes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void Resample(ReadOnlySpan<byte> pixels, int sourceWidth, in OpDraw box, Interpolation mode, bool mirrorX, bool mirrorY)
    {
        space.X.Build(box.Width, width, mode, mirrorX);
        space.Y.Build(box.Height, height, mode, mirrorY);
        var stride = WorkspaceNeed.Row(box.Width);
        fixed (byte* first = pixels)
        {
            for (var y = 0; y < box.Height; y++)
            {
                var row = first + ((((box.Top + y) * sourceWidth) + box.Left) * channels);
                if (scalar)
                {
                    ScalarKernels.LoadRow(row, box.Width, channels, space.Rows, stride);
                }
                else
                {
                    VectorKernels.LoadRow(row, box.Width, channels, space.Rows, stride);
                }

                for (var c = 0; c < channels; c++)
                {
                    Horizontal(space.Rows + (c * stride), c, y, box.Height);
                }
            }
        }

        Vertical(space.Planes, PlaneStride, box.Height, mode);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void Horizontal(float* row, int channel, int y, int sourceHeight)
    {
        var target = space.Between + (channel * WorkspaceNeed.BetweenPlane(sourceHeight, width)) + (y * AxisTable.Padded(width));
        if (scalar)
        {
            ScalarKernels.Horizontal(row, target, space.X);
        }
        else
        {
            VectorKernels.Horizontal(row, target, space.X);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void Vertical(float* target, int targetStride, int sourceHeight, Interpolation mode)
    {
        var clamp = mode == Interpolation.Bicubic && !overshoot;
        for (var c = 0; c < channels; c++)
        {
            var source = space.Between + (c * WorkspaceNeed.BetweenPlane(sourceHeight, width));
            if (scalar)
            {
                ScalarKernels.Vertical(source, AxisTable.Padded(width), target + (c * targetStride), width, space.Y, clamp);
            }
            else
            {
                VectorKernels.Vertical(source, AxisTable.Padded(width), target + (c * targetStride), width, space.Y, clamp);
            }
        }
    }

    /// <summary>A crop or mirroring of the planes that cannot be part of reading the image.</summary>
    private void Rework(ResizedCrop? crop, in OpDraw draw, bool mirrorX, bool mirrorY)
    {
        var box = crop is null ? new OpDraw { Height = height, Width = width } : draw;
        CheckBox(box, height, width);
        var (source, sourceStride, sourceWidth) = ((nuint)space.Planes, PlaneStride, width);
        var mode = crop?.Mode ?? Interpolation.Bilinear;
        height = crop?.Height ?? height;
        width = crop?.Width ?? width;
        space.X.Build(box.Width, width, mode, mirrorX);
        space.Y.Build(box.Height, height, mode, mirrorY);
        for (var c = 0; c < channels; c++)
        {
            for (var y = 0; y < box.Height; y++)
            {
                Horizontal((float*)source + (c * sourceStride) + ((box.Top + y) * sourceWidth) + box.Left, c, y, box.Height);
            }
        }

        Vertical(space.Planes, PlaneStride, box.Height, mode);
    }

    /// <summary>Quarter turns counter-clockwise of a square image.</summary>
    private readonly void Turn(int turns)
    {
        var n = height;
        for (var c = 0; c < channels; c++)
        {
            var from = space.Planes + (c * PlaneStride);
            var to = space.OtherPlanes + (c * PlaneStride);
            for (var y = 0; y < n; y++)
            {
                for (var x = 0; x < n; x++)
                {
                    to[(y * n) + x] = turns switch
                    {
                        1 => from[(x * n) + (n - 1 - y)],
                        2 => from[((n - 1 - y) * n) + (n - 1 - x)],
                        _ => from[((n - 1 - x) * n) + y],
                    };
                }
            }
        }

        var turned = space.OtherPlanes;
        space.OtherPlanes = space.Planes;
        space.Planes = turned;
    }

    /// <summary>The filter in space.Half, along x and then y, each <paramref name="passes"/> times: as Pillow does on
    /// <paramref name="bytes"/> (edges repeated, rounded after every pass), or as torchvision does on floats (edges reflected).</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void Smooth(int radius, int passes, bool bytes)
    {
        for (var c = 0; c < channels; c++)
        {
            var plane = space.Planes + (c * PlaneStride);
            SmoothRows(plane, radius, passes, bytes);
            SmoothColumns(plane, radius, passes, bytes);
        }
    }

    /// <summary>Several rows at a time, one after the other in a line, with room for the edges of both between them.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void SmoothRows(float* plane, int radius, int passes, bool bytes)
    {
        var stride = width + (2 * radius);
        var most = Math.Max(1, WorkspaceNeed.LineFloats / stride);
        for (var top = 0; top < height; top += most)
        {
            var rows = Math.Min(most, height - top);
            var line = space.LineA + WorkspaceNeed.LineMargin;
            for (var y = 0; y < rows; y++)
            {
                Copy(plane + ((top + y) * width), line + (y * stride), width);
            }

            line = Line(line, space.LineB + WorkspaceNeed.LineMargin, rows, stride, width, 1, radius, passes, bytes);
            for (var y = 0; y < rows; y++)
            {
                Copy(line + (y * stride), plane + ((top + y) * width), width);
            }
        }
    }

    /// <summary>Sixteen columns at a time; the last block may carry a few floats of the next row along, never back.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void SmoothColumns(float* plane, int radius, int passes, bool bytes)
    {
        const int Block = AxisTable.Block;
        for (var x = 0; x < width; x += Block)
        {
            var line = space.LineA + WorkspaceNeed.LineMargin;
            for (var y = 0; y < height; y++)
            {
                Vector512.Load(plane + (y * width) + x).Store(line + (y * Block));
            }

            line = Line(line, space.LineB + WorkspaceNeed.LineMargin, 1, 0, height, Block, radius, passes, bytes);
            var columns = Math.Min(Block, width - x);
            for (var y = 0; y < height; y++)
            {
                Copy(line + (y * Block), plane + (y * width) + x, columns);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Copy(float* from, float* to, int count)
    {
        var i = 0;
        for (; i + AxisTable.Block <= count; i += AxisTable.Block)
        {
            Vector512.Load(from + i).Store(to + i);
        }

        for (; i < count; i++)
        {
            to[i] = from[i];
        }
    }

    /// <summary>
    /// Filters <paramref name="lines"/> lines, <paramref name="stride"/> floats apart, of <paramref name="length"/> elements of
    /// <paramref name="step"/> floats, 1 or a block; the result is in one of the two buffers.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly float* Line(float* from, float* to, int lines, int stride, int length, int step, int radius, int passes, bool bytes)
    {
        var count = ((lines - 1) * stride) + (length * step);
        for (var pass = 0; pass < passes; pass++)
        {
            for (var i = 0; i < lines; i++)
            {
                Edges(from + (i * stride), length, step, radius, bytes);
            }

            if (scalar)
            {
                ScalarKernels.Pass(from, to, count, step, space.Half, radius, bytes);
            }
            else
            {
                VectorKernels.Pass(from, to, AxisTable.Padded(count), step, space.Half, radius, bytes);
            }

            var swap = from;
            from = to;
            to = swap;
        }

        return from;
    }

    /// <summary>Fills the room before and after a line: with its end elements, or mirrored about them.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Edges(float* line, int length, int step, int radius, bool repeat)
    {
        for (var j = 1; j <= radius; j++)
        {
            var before = repeat ? 0 : j;
            var after = repeat ? length - 1 : length - 1 - j;
            if (step == 1)
            {
                line[-j] = line[before];
                line[length - 1 + j] = line[after];
            }
            else
            {
                Vector512.Load(line + (before * step)).Store(line - (j * step));
                Vector512.Load(line + (after * step)).Store(line + ((length - 1 + j) * step));
            }
        }
    }
}
