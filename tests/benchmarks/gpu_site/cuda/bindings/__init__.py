"""`cuda.bindings` of a GPU that is none, for programs that run in a process of their own.

With this folder's grandparent and the repository's root first on PYTHONPATH, `cuda.bindings` is the CUDA of
`tests.sdk.fake_gpu`, its compute capability 9.0 (FAKE_GPU_CAPABILITY), and "compiles" and runs the kernel of
benchmarks/gpu_kernel. FAKE_GPU_STAYS_BROKEN: a reset of the device does not mend its context.
"""
