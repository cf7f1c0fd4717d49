//! Gradient norms.

use tch::Tensor;

use crate::error::Result;
use crate::parameters::Parameters;

/// Elements summed in one go, in f32.
const BLOCK: i64 = 4096;

/// L2 norm of `values` `[N]`, as a tensor without dimensions.
///
/// Two levels: blocks, then the norms of the blocks. One f32 sum over the millions of a word embedding would lose four digits,
/// and torch would split it differently for another number of threads.
pub fn norm(values: &Tensor) -> Result<Tensor> {
    let len = values.size()[0];
    let whole = len / BLOCK * BLOCK;
    let tail = values.f_narrow(0, whole, len - whole)?;
    let over = |t: &Tensor, dim: i64| t.f_norm_scalaropt_dim(2, [dim].as_slice(), false);
    if whole == 0 {
        return Ok(over(&tail, 0)?);
    }
    let blocks = over(&values.f_narrow(0, 0, whole)?.f_view([-1, BLOCK])?, 1)?;
    let tail = over(&tail, 0)?.f_view([1])?;
    Ok(over(&Tensor::f_cat(&[blocks, tail], 0)?, 0)?)
}

/// L2 norm over all gradients, their scale divided out.
pub(super) fn gradient_norm(parameters: &Parameters) -> Result<f64> {
    Ok(norm(parameters.gradient())?.f_double_value(&[])? / parameters.gradient_scale())
}

/// What to multiply a gradient of norm `gradient_norm` with so that its norm is at most `max_norm`, where that is not 0.
pub(super) fn clip_factor(gradient_norm: f64, max_norm: f64) -> f64 {
    if max_norm > 0.0 && gradient_norm > max_norm { max_norm / gradient_norm } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn a_norm_is_exact_for_any_length_and_number_of_threads() {
        for len in [1, 15, 4096, 4097, 1_000_003] {
            let values = Tensor::randn([len], (Kind::Float, Device::Cpu));
            let exact = values.to_kind(Kind::Double).square().sum(Kind::Double).sqrt().double_value(&[]);
            let first = norm(&values).unwrap().double_value(&[]);
            assert!((first / exact - 1.0).abs() < 3e-7, "{len}: {first} {exact}");
            let threads = tch::get_num_threads();
            tch::set_num_threads(if threads == 1 { 3 } else { 1 });
            assert_eq!(norm(&values).unwrap().double_value(&[]), first);
            tch::set_num_threads(threads);
        }
    }

    #[test]
    fn clipping_only_shortens() {
        assert_eq!(clip_factor(0.5, 1.0), 1.0);
        assert_eq!(clip_factor(1.0, 1.0), 1.0);
        assert_eq!(clip_factor(4.0, 1.0), 0.25);
        assert_eq!(clip_factor(4.0, 0.0), 1.0);
    }
}
