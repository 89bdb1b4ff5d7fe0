namespace SslResearch

/// Something wrong with an experiment, found before anything runs.
type Problem =
    {
        /// Path to the value, for example `simclr.Method.Temperature`.
        Where: string
        /// What is wrong with it, with the value itself.
        What: string
        /// What to do.
        Mend: string
    }

    override p.ToString() = $"{p.Where}: {p.What}. {p.Mend}."

/// Building blocks of checks: each yields the problems of one value.
[<RequireQualifiedAccess>]
module Problem =
    let make where what mend =
        {
            Where = where
            What = what
            Mend = mend
        }

    /// Puts an outer name before the path of each problem.
    let within (outer: string) problems =
        problems
        |> List.map (fun p ->
            { p with
                Where =
                    if p.Where = "" then outer
                    elif p.Where.StartsWith '[' then outer + p.Where
                    else outer + "." + p.Where
            })

    /// Equal problems of many owners become one, which says how many.
    let gathered (problems: (string * Problem) list) =
        problems
        |> List.groupBy snd
        |> List.map (fun (problem, owned) ->
            let owner =
                match owned |> List.map fst |> List.distinct with
                | first :: (_ :: _ as rest) -> $"{first} and {rest.Length} more"
                | owners -> String.concat "" owners

            { problem with
                Where = $"{owner}: {problem.Where}"
            })

    let unless condition where what mend =
        if condition then [] else [ make where what mend ]

    /// A number with its shortest exact decimal form, the same everywhere.
    let number (x: float) =
        x.ToString("R", System.Globalization.CultureInfo.InvariantCulture)

    let probability where (p: float) =
        unless (p >= 0. && p <= 1.) where $"a probability of {number p}" "Give a value between 0 and 1"

    let positive where (x: float) =
        unless (x > 0. && System.Double.IsFinite x) where $"{number x}" "Give a finite value above 0"

    /// Of a softmax over scores in float32: below this their rounding shows.
    let temperature where (x: float) =
        unless
            (x >= 0.001 && System.Double.IsFinite x)
            where
            $"{number x}"
            "Give a finite value above 0, 0.001 at least"

    let notNegative where (x: float) =
        unless (x >= 0. && System.Double.IsFinite x) where $"{number x}" "Give a finite value, 0 or above"

    let fraction where (x: float) =
        unless (x >= 0. && x <= 1.) where $"{number x}" "Give a fraction between 0 and 1"

    let atLeast (least: int) where (n: int) =
        unless (n >= least) where $"{n}" $"Give {least} or more"

    /// 0 < low ≤ high.
    let range where (low: float, high: float) =
        unless
            (low > 0. && low <= high && System.Double.IsFinite high)
            where
            $"the range from {number low} to {number high}"
            "Give two values above 0, the smaller one first"
