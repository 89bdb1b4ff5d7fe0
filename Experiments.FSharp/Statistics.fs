namespace SslResearch

open MathNet.Numerics.Distributions

/// Mean over seeds with its uncertainty.
type Estimate =
    {
        Mean: float
        /// Half of the width of the 95 % interval of the mean (Student t); None for a single value.
        Half: float option
        Count: int
    }

[<RequireQualifiedAccess>]
module Statistics =
    /// The 0.975 quantile of Student's t with n - 1 degrees of freedom.
    let quantile n =
        StudentT.InvCDF(0., 1., float (n - 1), 0.975)

    /// Unbiased standard deviation; two passes, so that large means lose nothing.
    let deviation (values: float list) =
        let mean = List.average values

        sqrt (
            (values |> List.sumBy (fun x -> (x - mean) * (x - mean)))
            / float (values.Length - 1)
        )

    /// None where there are no values.
    let estimate (values: float list) : Estimate option =
        match values with
        | [] -> None
        | [ x ] -> Some { Mean = x; Half = None; Count = 1 }
        | _ ->
            let n = values.Length

            Some
                {
                    Mean = List.average values
                    Half = Some(quantile n * deviation values / sqrt (float n))
                    Count = n
                }

    let median (values: float list) =
        match List.sort values with
        | [] -> None
        | sorted ->
            let n = sorted.Length

            Some(
                if n % 2 = 1 then
                    sorted[n / 2]
                else
                    (sorted[n / 2 - 1] + sorted[n / 2]) / 2.
            )
