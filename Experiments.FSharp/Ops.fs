namespace SslResearch

/// How values between pixels are computed when an image is resampled; both are antialiased when shrinking.
type Resampling =
    | Bilinear
    | Bicubic

/// A random crop, resized: area relative to the source, aspect ratio width : height drawn log-uniformly.
type CropOptions =
    {
        MinArea: float
        MaxArea: float
        MinRatio: float
        MaxRatio: float
        /// Side of the square output in pixels; None keeps the size of the dataset's images.
        Size: int option
        Resampling: Resampling
    }

/// Colour jitter with probability P: factors from [1 - amplitude, 1 + amplitude], hue shift from [-Hue, Hue] turns, the four
/// in random order.
type JitterOptions =
    {
        P: float
        Brightness: float
        Contrast: float
        Saturation: float
        Hue: float
    }

/// Gaussian blur with probability P, standard deviation in pixels drawn uniformly.
type BlurOptions =
    {
        P: float
        MinSigma: float
        MaxSigma: float
    }

/// Inversion of all values at or above the threshold (0 … 255), with probability P.
type SolarizeOptions = { P: float; Threshold: int }

/// One augmentation of one view. Written by the short forms: `ResizedCrop(0.2, 1.0)`, `Flip 0.5`, `Jitter(0.8, 0.5)`, …
[<RequireQualifiedAccess>]
type Op =
    | Crop of CropOptions
    | Flip of p: float
    | VerticalFlip of p: float
    | Rotate90 of p: float
    | Jitter of JitterOptions
    | Gray of p: float
    | Blur of BlurOptions
    | Solarize of SolarizeOptions

/// The short forms, open wherever SslResearch is. Defaults of augmentations live here and nowhere else.
[<AutoOpen>]
type OpForms =
    /// Crop of `minArea` … `maxArea` of the image, resized to `size` pixels (left out: the size of the dataset's images).
    /// The default ratio 3/4 … 4/3 is that of Szegedy et al. 2015 and torchvision.
    static member ResizedCrop
        (minArea: float, maxArea: float, ?size: int, ?ratio: float * float, ?resampling: Resampling)
        =
        let minRatio, maxRatio = defaultArg ratio (3. / 4., 4. / 3.)

        Op.Crop
            {
                MinArea = minArea
                MaxArea = maxArea
                MinRatio = minRatio
                MaxRatio = maxRatio
                Size = size
                Resampling = defaultArg resampling Bilinear
            }

    /// ResizedCrop with the output's side in pixels first.
    static member CropTo(size: int, minArea: float, maxArea: float, ?ratio: float * float, ?resampling: Resampling) =
        OpForms.ResizedCrop(minArea, maxArea, size, ?ratio = ratio, ?resampling = resampling)

    /// Left to right, with probability p.
    static member Flip(p: float) = Op.Flip p

    /// Top to bottom, with probability p.
    static member VerticalFlip(p: float) = Op.VerticalFlip p

    /// With probability p by 90, 180 or 270 degrees.
    static member Rotate90(p: float) = Op.Rotate90 p

    /// SimCLR's colour jitter: brightness, contrast, saturation 0.8 × strength, hue 0.2 × strength, with probability p
    /// (Chen et al. 2020, appendix A).
    static member Jitter(p: float, strength: float) =
        Op.Jitter
            {
                P = p
                Brightness = 0.8 * strength
                Contrast = 0.8 * strength
                Saturation = 0.8 * strength
                Hue = 0.2 * strength
            }

    /// Colour jitter with each amplitude stated.
    static member JitterOf(p: float, brightness: float, contrast: float, saturation: float, hue: float) =
        Op.Jitter
            {
                P = p
                Brightness = brightness
                Contrast = contrast
                Saturation = saturation
                Hue = hue
            }

    /// To gray (three equal channels), with probability p.
    static member Gray(p: float) = Op.Gray p

    /// Gaussian blur, with probability p; the default sigma 0.1 … 2 pixels is SimCLR's.
    static member Blur(p: float, ?sigma: float * float) =
        let low, high = defaultArg sigma (0.1, 2.0)

        Op.Blur
            {
                P = p
                MinSigma = low
                MaxSigma = high
            }

    /// Inversion of bright values, with probability p; the default threshold 128 is BYOL's.
    static member Solarize(p: float, ?threshold: int) =
        Op.Solarize
            {
                P = p
                Threshold = defaultArg threshold 128
            }

[<RequireQualifiedAccess>]
module Op =
    /// For labels of axes and tables.
    let name op =
        match op with
        | Op.Crop _ -> "crop"
        | Op.Flip _ -> "flip"
        | Op.VerticalFlip _ -> "vertical flip"
        | Op.Rotate90 _ -> "rotate90"
        | Op.Jitter _ -> "jitter"
        | Op.Gray _ -> "gray"
        | Op.Blur _ -> "blur"
        | Op.Solarize _ -> "solarize"

    /// In words, with the parameters that matter to a reader.
    let describe op =
        let n = Problem.number

        match op with
        | Op.Crop o ->
            let size = o.Size |> Option.map (fun s -> $" to {s} px") |> Option.defaultValue ""
            let bicubic = if o.Resampling = Bicubic then " bicubic" else ""
            $"crop {n o.MinArea}–{n o.MaxArea}{size}{bicubic}"
        | Op.Flip p -> $"flip {n p}"
        | Op.VerticalFlip p -> $"vertical flip {n p}"
        | Op.Rotate90 p -> $"rotate90 {n p}"
        | Op.Jitter o -> $"jitter {n o.Brightness}/{n o.Contrast}/{n o.Saturation}/{n o.Hue} p {n o.P}"
        | Op.Gray p -> $"gray {n p}"
        | Op.Blur o -> $"blur σ {n o.MinSigma}–{n o.MaxSigma} p {n o.P}"
        | Op.Solarize o -> $"solarize {o.Threshold} p {n o.P}"

    let problems op =
        match op with
        | Op.Crop o ->
            [
                yield! Problem.range "MinArea, MaxArea" (o.MinArea, o.MaxArea)

                yield!
                    Problem.unless
                        (o.MaxArea <= 1.)
                        "MaxArea"
                        $"{Problem.number o.MaxArea} of the image"
                        "Give a fraction of at most 1"

                yield! Problem.range "MinRatio, MaxRatio" (o.MinRatio, o.MaxRatio)
                yield! o.Size |> Option.toList |> List.collect (Problem.atLeast 1 "Size")
            ]
        | Op.Flip p
        | Op.VerticalFlip p
        | Op.Rotate90 p
        | Op.Gray p -> Problem.probability "" p
        | Op.Jitter o ->
            [
                yield! Problem.probability "P" o.P
                yield! Problem.notNegative "Brightness" o.Brightness
                yield! Problem.notNegative "Contrast" o.Contrast
                yield! Problem.notNegative "Saturation" o.Saturation

                yield!
                    Problem.unless
                        (o.Hue >= 0. && o.Hue <= 0.5)
                        "Hue"
                        $"{Problem.number o.Hue} turns"
                        "Give a shift between 0 and 0.5"
            ]
        | Op.Blur o ->
            Problem.probability "P" o.P
            @ Problem.range "MinSigma, MaxSigma" (o.MinSigma, o.MaxSigma)
        | Op.Solarize o ->
            Problem.probability "P" o.P
            @ Problem.unless
                (o.Threshold >= 0 && o.Threshold <= 256)
                "Threshold"
                $"{o.Threshold}"
                "Give a value between 0 and 256"

    /// Side of the output of a list of operations on images of this side; None where the images keep their size.
    let outputSize ops =
        ops
        |> List.fold
            (fun size op ->
                match op with
                | Op.Crop { Size = Some s } -> Some s
                | _ -> size)
            None
