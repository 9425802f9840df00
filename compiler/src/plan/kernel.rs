//! What a kernel is to a plan: a specification with every extent and distance known, and named
//! arguments. What there is of kernels is in `kernels`; a plan knows none by name.
//!
//! A kernel knows nothing of graphs or tensors. It gets an array of pointers, in the order of
//! [`Kernel::arguments`], and a range of its items; items are independent of each other, so any
//! partition of them over threads gives the same bits. Steps with equal kernels share one function.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use cranelift_codegen::ir::Function;

use super::Walk;
use crate::codegen::Linker;
use crate::error::Result;
use crate::ir::text::lexer::Cursor;
use crate::ir::text::values::Value;
use crate::machine::Element;

/// What an argument is to a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The value that the step makes.
    Out,
    /// What it is made of.
    In,
    /// Packed weights.
    Weights,
    /// A packed bias.
    Bias,
    /// What is added to each output before the activation.
    Residual,
    /// Memory of the calling thread, for what is needed during an item only.
    Scratch,
    /// Sums of inputs, for Strassen's products.
    Sums,
    /// Written: the sums of inputs that the next of Strassen's convolutions wants of the outputs.
    NextSums,
    /// Written: the sums of each row of outputs.
    Totals,
    /// Positions along an axis.
    Index,
    /// An operand of an expression, `x1` and so on.
    Operand(usize),
}

impl Role {
    const NAMED: [(Role, &'static str); 10] = [
        (Role::Out, "out"),
        (Role::In, "in"),
        (Role::Weights, "weights"),
        (Role::Bias, "bias"),
        (Role::Residual, "residual"),
        (Role::Scratch, "scratch"),
        (Role::Sums, "sums"),
        (Role::NextSums, "next_sums"),
        (Role::Totals, "totals"),
        (Role::Index, "index"),
    ];

    /// Whether the kernel writes there and others may read it afterwards.
    pub fn is_written(self) -> bool {
        match self {
            Role::Out | Role::NextSums | Role::Totals => true,
            Role::In
            | Role::Weights
            | Role::Bias
            | Role::Residual
            | Role::Scratch
            | Role::Sums
            | Role::Index
            | Role::Operand(_) => false,
        }
    }

    /// The role of this name in texts.
    pub fn from_name(name: &str) -> Option<Role> {
        let operand = || Some(Role::Operand(name.strip_prefix('x')?.parse().ok()?));
        let named = Role::NAMED.into_iter().find(|(_, known)| *known == name);
        named.map(|(role, _)| role).or_else(operand)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, Role::NAMED.iter().find(|(role, _)| role == self)) {
            (Role::Operand(i), _) => write!(f, "x{i}"),
            (_, named) => f.write_str(named.map_or("", |(_, name)| name)),
        }
    }
}

/// Visits the attributes of a kernel in their order: the printer and the parser are such visitors.
pub(crate) trait Fields {
    /// One attribute.
    fn field(&mut self, key: &'static str, value: &mut dyn Field) -> Result<()>;

    /// One that has no line where its text is the usual one, which is that of a blank kernel.
    fn field_unless(
        &mut self,
        usual: &'static str,
        key: &'static str,
        value: &mut dyn Field,
    ) -> Result<()>;
}

/// A [`Value`], whatever its type.
pub(crate) trait Field {
    /// Its text.
    fn text(&self) -> String;
    /// Reads the text in place of the value.
    fn read_from(&mut self, cursor: &mut Cursor<'_>) -> Result<()>;
}

impl<T: Value> Field for T {
    fn text(&self) -> String {
        self.write()
    }

    fn read_from(&mut self, cursor: &mut Cursor<'_>) -> Result<()> {
        *self = T::read(cursor)?;
        Ok(())
    }
}

/// A specification of a kernel: all that its code depends on but the machine.
#[allow(private_interfaces, reason = "kernels are implemented in this crate only")]
pub trait Kernel: fmt::Debug + Send + Sync + 'static {
    /// Its name in listings, texts and symbols.
    const NAME: &'static str;

    /// Its arguments, in the order of the pointers that it is called with.
    fn arguments(&self) -> Vec<Role>;

    /// Number of independent items.
    fn items(&self) -> usize;

    /// Multiply-adds that the definition of a convolution or product has over the channels that are
    /// there and those that fill up blocks, and with zeros between groups that are computed as one,
    /// whatever algorithm computes it; 0 for everything else.
    fn multiply_adds(&self) -> usize {
        0
    }

    /// What its multiply-adds are of.
    fn multiplies(&self) -> Element {
        Element::F32
    }

    /// Scratch memory of each thread, in f32 elements.
    fn scratch(&self) -> usize {
        0
    }

    /// What it touches of each argument, and of those that it could have; `None` where its attributes
    /// contradict each other. Shares no code with what emits it.
    fn walks(&self) -> Option<Vec<(Role, Walk)>>;

    /// Whether it may write an element several times, the same each time.
    fn may_write_twice(&self) -> bool {
        false
    }

    /// What a kernel for `of` images does when it is called for the first `there` of them, as a kernel of its
    /// own; `None` where it cannot be called so. Its items are those of as many images: either the items of
    /// images come one behind the other, or the kernel [counts](Kernel::counts) images.
    fn of_first(&self, there: usize, of: usize) -> Option<Self>
    where
        Self: Sized,
    {
        let _ = (there, of);
        None
    }

    /// How many runs of images its items go through inside of other loops: then its code reads behind its
    /// arguments how many of these are there. `None` where it does not.
    fn counts(&self) -> Option<usize> {
        None
    }

    /// Visits every attribute, for the text.
    ///
    /// # Errors
    /// The visitor's.
    #[doc(hidden)]
    fn fields(&mut self, visitor: &mut dyn Fields) -> Result<()>;

    /// Its function `fn(arguments, begin, end, worker)`. Leaf functions that it calls are placed first.
    ///
    /// # Errors
    /// [`Problem::Internal`](crate::error::Problem::Internal) for what the machine has no code for.
    #[doc(hidden)]
    fn emit(&self, linker: &mut Linker) -> Result<Function>;

    /// Whether Cranelift's mid-end may run over it.
    #[doc(hidden)]
    fn optimize(&self) -> bool {
        true
    }
}

/// A [`Kernel`] whose type is not known. Every kernel is one.
trait AnyKernel: fmt::Debug + Send + Sync {
    fn name(&self) -> &'static str;
    fn arguments(&self) -> Vec<Role>;
    fn items(&self) -> usize;
    fn multiply_adds(&self) -> usize;
    fn multiplies(&self) -> Element;
    fn scratch(&self) -> usize;
    fn walks(&self) -> Option<Vec<(Role, Walk)>>;
    fn may_write_twice(&self) -> bool;
    fn of_first(&self, there: usize, of: usize) -> Option<KernelRef>;
    fn counts(&self) -> Option<usize>;
    fn emit(&self, linker: &mut Linker) -> Result<Function>;
    fn optimize(&self) -> bool;
    fn visited(&self, visitor: &mut dyn Fields) -> Result<KernelRef>;
    fn as_any(&self) -> &dyn Any;
    fn equals(&self, other: &dyn AnyKernel) -> bool;
}

impl<K: Kernel + Clone + PartialEq> AnyKernel for K {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn arguments(&self) -> Vec<Role> {
        Kernel::arguments(self)
    }

    fn items(&self) -> usize {
        Kernel::items(self)
    }

    fn multiply_adds(&self) -> usize {
        Kernel::multiply_adds(self)
    }

    fn multiplies(&self) -> Element {
        Kernel::multiplies(self)
    }

    fn scratch(&self) -> usize {
        Kernel::scratch(self)
    }

    fn walks(&self) -> Option<Vec<(Role, Walk)>> {
        Kernel::walks(self)
    }

    fn may_write_twice(&self) -> bool {
        Kernel::may_write_twice(self)
    }

    fn of_first(&self, there: usize, of: usize) -> Option<KernelRef> {
        Kernel::of_first(self, there, of).map(KernelRef::new)
    }

    fn counts(&self) -> Option<usize> {
        Kernel::counts(self)
    }

    fn emit(&self, linker: &mut Linker) -> Result<Function> {
        Kernel::emit(self, linker)
    }

    fn optimize(&self) -> bool {
        Kernel::optimize(self)
    }

    fn visited(&self, visitor: &mut dyn Fields) -> Result<KernelRef> {
        let mut kernel = self.clone();
        kernel.fields(visitor)?;
        Ok(KernelRef::new(kernel))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn equals(&self, other: &dyn AnyKernel) -> bool {
        other.as_any().downcast_ref::<K>() == Some(self)
    }
}

/// A kernel of any kind, shared by what has the same.
#[derive(Debug, Clone)]
pub struct KernelRef(Arc<dyn AnyKernel>);

impl PartialEq for KernelRef {
    fn eq(&self, other: &KernelRef) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.equals(&*other.0)
    }
}

impl<K: Kernel + Clone + PartialEq> From<K> for KernelRef {
    fn from(kernel: K) -> KernelRef {
        KernelRef::new(kernel)
    }
}

impl KernelRef {
    fn new(kernel: impl Kernel + Clone + PartialEq) -> KernelRef {
        KernelRef(Arc::new(kernel))
    }

    /// Its name in listings, texts and symbols.
    pub fn name(&self) -> &'static str {
        self.0.name()
    }

    /// Its arguments, in order.
    pub fn arguments(&self) -> Vec<Role> {
        self.0.arguments()
    }

    /// Number of independent items.
    pub fn items(&self) -> usize {
        self.0.items()
    }

    /// [`Kernel::multiply_adds`].
    pub fn multiply_adds(&self) -> usize {
        self.0.multiply_adds()
    }

    /// [`Kernel::multiplies`].
    pub fn multiplies(&self) -> Element {
        self.0.multiplies()
    }

    /// Scratch memory of each thread, in f32 elements.
    pub fn scratch(&self) -> usize {
        self.0.scratch()
    }

    /// [`Kernel::walks`].
    pub fn walks(&self) -> Option<Vec<(Role, Walk)>> {
        self.0.walks()
    }

    /// [`Kernel::may_write_twice`].
    pub fn may_write_twice(&self) -> bool {
        self.0.may_write_twice()
    }

    /// [`Kernel::of_first`].
    pub fn of_first(&self, there: usize, of: usize) -> Option<KernelRef> {
        self.0.of_first(there, of)
    }

    /// [`Kernel::counts`].
    pub fn counts(&self) -> Option<usize> {
        self.0.counts()
    }

    /// The specification, if it is of this type.
    pub fn get<K: Kernel>(&self) -> Option<&K> {
        self.0.as_any().downcast_ref()
    }

    pub(crate) fn emit(&self, linker: &mut Linker) -> Result<Function> {
        self.0.emit(linker)
    }

    pub(crate) fn optimize(&self) -> bool {
        self.0.optimize()
    }

    /// The kernel with what the visitor makes of its attributes.
    pub(crate) fn visited(&self, visitor: &mut dyn Fields) -> Result<KernelRef> {
        self.0.visited(visitor)
    }
}

/// A row of the registry of kernels: what a text can name.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The kernel's name.
    pub name: &'static str,
    /// What it computes, in a line.
    pub summary: &'static str,
    /// A kernel whose attributes are still to be read.
    pub(crate) blank: fn() -> KernelRef,
}

impl Row {
    /// The row of a kernel.
    pub(crate) const fn of<K: Kernel + Clone + PartialEq + Default>(summary: &'static str) -> Row {
        Row { name: K::NAME, summary, blank: || KernelRef::new(K::default()) }
    }
}
