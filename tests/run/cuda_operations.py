"""Operations of PyTorch for which CUDA waits, or which it refuses in deterministic mode.

The lists are made by hand: from the documentation of `torch.use_deterministic_algorithms`, from
PyTorch's own test of the warnings of `torch.cuda.set_sync_debug_mode`, and from the kernels in
`libtorch_cuda` of torch 2.14 that raise the error of deterministic mode. They are not complete: a
kernel may wait inside.

Some 90 expressions and their gradients were also computed on an H100 by torch 2.11, with waits as
errors, in deterministic mode. What waited or was refused there is listed. There these did not wait
and were not refused: `isin` of eight numbers, `multinomial`, `kthvalue`, reflection padding in two
dimensions, and scattering in two dimensions. They stay in the lists, because documentation or newer
kernels say otherwise.
"""

from __future__ import annotations

READS, SIZES, CHECKS = "Python reads a value", "the size depends on values", "it checks values"
WAITS = {
    "_linalg_check_errors": CHECKS,
    "_linalg_eigh": CHECKS,
    "_linalg_svd": CHECKS,
    "_local_scalar_dense": READS,
    "_unique": SIZES,
    "_unique2": SIZES,
    "allclose": READS,
    "bincount": SIZES,
    "equal": READS,
    "histc": READS,
    "is_nonzero": READS,
    "isin": SIZES,
    "linalg_eig": CHECKS,
    "linalg_lstsq": CHECKS,
    "linalg_pinv": CHECKS,
    "masked_scatter_backward": SIZES,
    "masked_select": SIZES,
    "multinomial": CHECKS,
    "nonzero": SIZES,
    "nonzero_numpy": SIZES,
    "unique_consecutive": SIZES,
    "unique_dim": SIZES,
    "unique_dim_consecutive": SIZES,
}
"""Operations that wait for the GPU, and why."""
GRADIENT_WAITS = {"cumprod", "prod"}
"""Operations whose gradients wait, because they look for zeros; not so for tensors of a class of
their own, such as those of the pretended GPU."""
NOT_DETERMINISTIC = {
    "_adaptive_avg_pool2d_backward",
    "_adaptive_avg_pool3d_backward",
    "_ctc_loss_backward",
    "_upsample_bicubic2d_aa_backward",
    "_upsample_bilinear2d_aa_backward",
    "adaptive_max_pool2d_backward",
    "adaptive_max_pool3d_backward",
    "avg_pool3d_backward",
    "cudnn_grid_sampler_backward",
    "fractional_max_pool2d_backward",
    "fractional_max_pool3d_backward",
    "grid_sampler_2d_backward",
    "grid_sampler_3d_backward",
    "histc",
    "index_reduce",
    "index_reduce_",
    "kthvalue",
    "max_pool3d_with_indices_backward",
    "max_unpool2d",
    "max_unpool3d",
    "median.dim",
    "nanmedian.dim",
    "nll_loss2d_backward",
    "nll_loss2d_forward",
    "put",
    "put_",
    "reflection_pad1d_backward",
    "reflection_pad2d_backward",
    "reflection_pad3d_backward",
    "replication_pad1d_backward",
    "replication_pad2d_backward",
    "replication_pad3d_backward",
    "scatter.reduce",
    "scatter.value_reduce",
    "scatter_.reduce",
    "scatter_.value_reduce",
    "upsample_bicubic2d_backward",
    "upsample_bilinear2d_backward",
    "upsample_linear1d_backward",
    "upsample_trilinear3d_backward",
}
"""Operations that CUDA refuses under `torch.use_deterministic_algorithms`: from its documentation,
and from the kernels that raise the error in torch 2.14."""
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
SCATTERS = {
    "scatter.src",
    "scatter_.src",
    "scatter_add",
    "scatter_add_",
    "scatter_reduce.two",
    "scatter_reduce_.two",
}
"""In deterministic mode CUDA computes these by `index_put_`. For tensors of two dimensions or more
it copies the strides from memory that is not pinned, and so it waits."""
