//! Where tensors live: cargo features decide what can be chosen, `--device` chooses.

use burn::tensor::Device;

use crate::suggest::did_you_mean;
#[cfg(feature = "wgpu")]
use burn::tensor::wgpu::WgpuBackend;

/// A backend that this program was built with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// CPU, Burn's pure-Rust backend.
    Flex,
    /// CPU, Burn's older reference backend.
    NdArray,
    /// GPU through wgpu (Vulkan, Metal or DX12).
    Wgpu,
    /// GPU through Vulkan with Burn's SPIR-V compiler.
    Vulkan,
}

/// A device that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The name is not known.
    #[error(
        "device `{name}` (--device, or ENCODER_FLOW_DEVICE): unknown backend{hint} Known: flex, ndarray, wgpu, vulkan"
    )]
    Unknown {
        /// The name asked for.
        name: String,
        /// The nearest known one.
        hint: String,
    },
    /// The backend is not compiled in.
    #[error(
        "device `{name}` (--device, or ENCODER_FLOW_DEVICE): this program was built with {compiled}; build it with `--features {name}` for that one"
    )]
    NotCompiled {
        /// The name asked for.
        name: String,
        /// What there is.
        compiled: String,
    },
    /// No backend at all.
    #[error(
        "this program was built without any backend: build with `--features flex`, `ndarray`, `wgpu` or `vulkan`"
    )]
    None,
    /// The GPU backend found no adapter.
    #[error(
        "no GPU was found for {backend} ({reason}): check the driver, or use the CPU with `--device flex` (built with `--features flex`)"
    )]
    NoGpu {
        /// Name of the backend.
        backend: &'static str,
        /// What wgpu says.
        reason: String,
    },
}

/// An open device with its name for the record.
#[derive(Clone, Debug)]
pub struct OpenDevice {
    /// The backend.
    pub backend: Backend,
    /// The device, without automatic differentiation.
    pub device: Device,
}

impl OpenDevice {
    /// What the device is, for the record: the processor or the graphics adapter.
    pub fn description(&self) -> String {
        #[cfg(feature = "wgpu")]
        if let Some(identity) = self.device.identity() {
            return identity.name;
        }
        processor()
    }
}

/// Whether tensors of the device are on a GPU: few large steps suit it, not many at a time.
pub(crate) fn is_gpu(device: &Device) -> bool {
    #[cfg(feature = "wgpu")]
    return device.identity().is_some();
    #[cfg(not(feature = "wgpu"))]
    {
        let _ = device;
        false
    }
}

/// Whether gradients are known of what resizes images on the device: of Burn 0.22's backends, flex alone
/// differentiates that.
pub(crate) fn differentiates_resizing(device: &Device) -> bool {
    let flex = Backend::Flex.open();
    flex.is_ok_and(|flex| flex.device == *device)
}

/// Name of the processor, where the system tells (Linux).
fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    info.lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or_else(|| "CPU".to_owned(), |(_, name)| name.trim().to_owned())
}

impl Backend {
    /// The backends compiled in, the preferred one first: whoever builds a GPU backend wants it.
    pub fn compiled() -> Vec<Self> {
        [
            (cfg!(feature = "vulkan"), Self::Vulkan),
            (cfg!(feature = "wgpu"), Self::Wgpu),
            (cfg!(feature = "flex"), Self::Flex),
            (cfg!(feature = "ndarray"), Self::NdArray),
        ]
        .into_iter()
        .filter_map(|(compiled, backend)| compiled.then_some(backend))
        .collect()
    }

    /// Its name, also the name of its cargo feature.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::NdArray => "ndarray",
            Self::Wgpu => "wgpu",
            Self::Vulkan => "vulkan",
        }
    }

    /// Opens the backend's default device.
    ///
    /// # Errors
    /// [`BackendError::NoGpu`] when there is none.
    pub fn open(self) -> Result<OpenDevice, BackendError> {
        let device = match self {
            #[cfg(feature = "flex")]
            Self::Flex => Device::flex(),
            #[cfg(feature = "ndarray")]
            #[allow(deprecated)]
            Self::NdArray => Device::ndarray(),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => gpu(self, WgpuBackend::Auto)?,
            #[cfg(feature = "vulkan")]
            Self::Vulkan => gpu(self, WgpuBackend::Vulkan)?,
            #[allow(unreachable_patterns)]
            _ => return Err(not_compiled(self.name())),
        };
        Ok(OpenDevice {
            backend: self,
            device,
        })
    }

    /// Opens the named backend, or the preferred one.
    ///
    /// # Errors
    /// [`BackendError`] when it is not compiled in or has no device.
    pub fn choose(name: Option<&str>) -> Result<OpenDevice, BackendError> {
        Self::named(name)?.open()
    }

    /// The backend of this name, or the preferred one: also for an empty name, which a variable that is set to nothing is.
    ///
    /// # Errors
    /// [`BackendError`] when it is not compiled in.
    pub fn named(name: Option<&str>) -> Result<Self, BackendError> {
        let mut compiled = Self::compiled().into_iter();
        match name.filter(|name| !name.is_empty()) {
            None => compiled.next().ok_or(BackendError::None),
            Some(name) => compiled
                .find(|backend| backend.name() == name)
                .ok_or_else(|| not_compiled(name)),
        }
    }
}

/// Opens the default adapter. Burn's lazy constructors panic without one; this is the only fallible
/// way, and it works once per process and graphics interface.
#[cfg(feature = "wgpu")]
fn gpu(backend: Backend, api: WgpuBackend) -> Result<Device, BackendError> {
    use std::sync::{Mutex, PoisonError};

    static OPEN: Mutex<Vec<(Backend, Device)>> = Mutex::new(Vec::new());
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, device)) = open.iter().find(|(name, _)| *name == backend) {
        return Ok(device.clone());
    }
    let device = Device::wgpu_options()
        .graphics_api(api)
        .init()
        .map_err(|error| BackendError::NoGpu {
            backend: backend.name(),
            reason: error.to_string(),
        })?;
    open.push((backend, device.clone()));
    Ok(device)
}

fn not_compiled(name: &str) -> BackendError {
    let known = ["flex", "ndarray", "wgpu", "vulkan"];
    if !known.contains(&name) {
        return BackendError::Unknown {
            name: name.to_owned(),
            hint: did_you_mean(name, known.into_iter()),
        };
    }
    let compiled = Backend::compiled();
    if compiled.is_empty() {
        return BackendError::None;
    }
    let names: Vec<&str> = compiled.iter().map(|backend| backend.name()).collect();
    BackendError::NotCompiled {
        name: name.to_owned(),
        compiled: names.join(", "),
    }
}

/// The device of unit tests: always the CPU, whatever else is compiled in.
#[cfg(test)]
pub(crate) fn test_device() -> Device {
    Device::flex()
}
