//! The setting `thread_pool_attr`: the number of threads and groups, and the CPUs.

use std::fmt;
use std::str::FromStr;

/// The maximum number of threads in the setting.
pub const MAX_THREADS: usize = 4096;

/// The maximum number of groups in the setting.
pub const MAX_GROUPS: usize = 64;

/// The largest number of a CPU or a node: Linux's sets of CPUs have 1024 bits.
const MAX_NUMBER: usize = 1023;

/// The value of openGauss's setting `thread_pool_attr`: `thread_num, group_num, (binding)`.
///
/// Missing parts at the end have defaults. Blanks are allowed between words and numbers, and the
/// case of letters does not matter.
///
/// ```
/// use safepoint::pool::{CpuBinding, ThreadPoolAttr};
/// let attr: ThreadPoolAttr = "32, 2, (cpubind: 0-3, 7)".parse()?;
/// assert_eq!((attr.thread_num(), attr.group_num()), (32, 2));
/// assert_eq!(attr.binding(), &CpuBinding::Cpus(vec![0, 1, 2, 3, 7]));
/// assert_eq!("".parse(), Ok(ThreadPoolAttr::default()));
/// assert_eq!(ThreadPoolAttr::default().to_string(), "16, 2, (nobind)");
/// # Ok::<(), safepoint::pool::InvalidAttrError>(())
/// ```
///
/// For its meaning on this machine see [`layout`](Self::layout).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct ThreadPoolAttr {
    pub(super) thread_num: usize,
    pub(super) group_num: usize,
    pub(super) binding: CpuBinding,
}

impl ThreadPoolAttr {
    /// Creates the default: `16, 2, (nobind)`.
    #[must_use]
    pub fn new() -> ThreadPoolAttr {
        ThreadPoolAttr::default()
    }

    /// Sets the number of threads, up to [`MAX_THREADS`]. Zero means one thread for each CPU that
    /// they may run on. A larger number is an error of [`layout`](Self::layout).
    #[must_use]
    pub fn with_thread_num(self, thread_num: usize) -> ThreadPoolAttr {
        ThreadPoolAttr { thread_num, ..self }
    }

    /// Sets the number of groups, up to [`MAX_GROUPS`]. Zero means one group for each NUMA node. A
    /// larger number is an error of [`layout`](Self::layout).
    #[must_use]
    pub fn with_group_num(self, group_num: usize) -> ThreadPoolAttr {
        ThreadPoolAttr { group_num, ..self }
    }

    /// Sets the CPUs that the threads are bound to.
    #[must_use]
    pub fn with_binding(self, binding: CpuBinding) -> ThreadPoolAttr {
        ThreadPoolAttr { binding, ..self }
    }

    /// Returns the number of threads.
    #[must_use]
    pub fn thread_num(&self) -> usize {
        self.thread_num
    }

    /// Returns the number of groups.
    #[must_use]
    pub fn group_num(&self) -> usize {
        self.group_num
    }

    /// Returns the CPUs that the threads are bound to.
    #[must_use]
    pub fn binding(&self) -> &CpuBinding {
        &self.binding
    }
}

/// The CPUs that the threads of a pool are bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum CpuBinding {
    /// `(nobind)`: the threads are not bound.
    #[default]
    None,
    /// `(allbind)`: each thread is bound to one CPU, of all CPUs.
    All,
    /// `(cpubind: 0-3, 7)`: each thread is bound to one of these CPUs.
    Cpus(Vec<usize>),
    /// `(nodebind: 0, 1)`: each thread is bound to one CPU of these NUMA nodes.
    Nodes(Vec<usize>),
    /// `(numabind: 0-3, 7)`: each thread is bound to all of these CPUs that belong to the NUMA node
    /// of its group.
    Numa(Vec<usize>),
}

impl Default for ThreadPoolAttr {
    fn default() -> Self {
        ThreadPoolAttr { thread_num: 16, group_num: 2, binding: CpuBinding::None }
    }
}

/// The error of an invalid `thread_pool_attr`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidAttrError(String);

impl InvalidAttrError {
    pub(super) fn new(detail: impl Into<String>) -> InvalidAttrError {
        InvalidAttrError(detail.into())
    }

    /// Creates the error for a setting that leaves no usable CPU.
    pub(super) fn no_cpu() -> InvalidAttrError {
        InvalidAttrError::new(
            "Can not find valid CPU for thread binding: none is named, or those named are not \
             online, or this process may not run on them (see lscpu and taskset -pc).",
        )
    }

    pub(super) fn out_of_range(what: &str, number: impl fmt::Display, largest: usize) -> Self {
        InvalidAttrError(format!(
            "The {what} attribute {number} is out of valid range [0, {largest}]"
        ))
    }

    /// Returns what is wrong, as a sentence for the error's DETAIL.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InvalidAttrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Invalid attribute for thread pool.")
    }
}

impl std::error::Error for InvalidAttrError {}

impl FromStr for ThreadPoolAttr {
    type Err = InvalidAttrError;

    fn from_str(text: &str) -> Result<Self, InvalidAttrError> {
        let mut attr = ThreadPoolAttr::default();
        let mut parts = text.splitn(3, ',').map(str::trim);
        let [threads, groups, binding] = [(); 3].map(|()| parts.next().unwrap_or_default());
        // A part may be missing only if all later parts are missing.
        if !threads.is_empty() || !groups.is_empty() || !binding.is_empty() {
            attr.thread_num = number("thread num", threads, MAX_THREADS)?;
        }
        if !groups.is_empty() || !binding.is_empty() {
            attr.group_num = number("group num", groups, MAX_GROUPS)?;
        }
        if !binding.is_empty() {
            attr.binding = binding.parse()?;
        }
        Ok(attr)
    }
}

fn number(what: &str, text: &str, largest: usize) -> Result<usize, InvalidAttrError> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidAttrError(format!(
            "Current {what}: invalid input syntax for integer: \"{text}\""
        )));
    }
    let number = text.parse().ok().filter(|number| (0..=largest as i64).contains(number));
    number.map(|number: i64| number as usize).ok_or_else(|| {
        InvalidAttrError(format!("Current {what} {text} is out of range [0, {largest}]."))
    })
}

impl FromStr for CpuBinding {
    type Err = InvalidAttrError;

    fn from_str(text: &str) -> Result<Self, InvalidAttrError> {
        let inner = text.trim().strip_prefix('(').and_then(|text| text.strip_suffix(')'));
        let inner =
            inner.ok_or_else(|| InvalidAttrError::new("Use '(' ')' to indicate cpu bind info."))?;
        let (word, list) = match inner.split_once(':') {
            Some((word, list)) => (word, Some(list)),
            None => (inner, None),
        };
        let word = word.trim().to_ascii_lowercase();
        let numbers = || match numbers(&word, list.unwrap_or_default())? {
            none if none.is_empty() => Err(InvalidAttrError::no_cpu()),
            numbers => Ok(numbers),
        };
        match (word.as_str(), list) {
            ("nobind", None) => Ok(CpuBinding::None),
            ("allbind", None) => Ok(CpuBinding::All),
            ("cpubind", _) => Ok(CpuBinding::Cpus(numbers()?)),
            ("nodebind", _) => Ok(CpuBinding::Nodes(numbers()?)),
            ("numabind", _) => Ok(CpuBinding::Numa(numbers()?)),
            ("nobind" | "allbind", Some(list)) => {
                Err(InvalidAttrError(format!("Can not parse attribute {}", list.trim())))
            }
            _ => Err(InvalidAttrError::new(
                "Only 'nobind', 'allbind', 'cpubind', 'nodebind' and 'numabind' are valid \
                 attribute.",
            )),
        }
    }
}

/// Parses a list such as `0-3, 7` into sorted numbers without duplicates. A range may be given from
/// either end.
pub(super) fn numbers(what: &str, list: &str) -> Result<Vec<usize>, InvalidAttrError> {
    let mut named = [false; MAX_NUMBER + 1];
    for item in list.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let one = |text: &str| {
            let text = text.trim();
            if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(InvalidAttrError(format!("Can not parse attribute {item}")));
            }
            let number = text.parse().ok().filter(|number: &usize| *number <= MAX_NUMBER);
            number.ok_or_else(|| InvalidAttrError::out_of_range(what, text, MAX_NUMBER))
        };
        let (from, to) = item.split_once('-').unwrap_or((item, item));
        let (from, to) = (one(from)?, one(to)?);
        named[from.min(to)..=from.max(to)].fill(true);
    }
    Ok((0..named.len()).filter(|number| named[*number]).collect())
}

impl fmt::Display for ThreadPoolAttr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}, {}", self.thread_num, self.group_num, self.binding)
    }
}

impl fmt::Display for CpuBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, numbers) = match self {
            CpuBinding::None => return f.write_str("(nobind)"),
            CpuBinding::All => return f.write_str("(allbind)"),
            CpuBinding::Cpus(cpus) => ("cpubind", cpus),
            CpuBinding::Nodes(nodes) => ("nodebind", nodes),
            CpuBinding::Numa(cpus) => ("numabind", cpus),
        };
        write!(f, "({word}: ")?;
        let runs = numbers.chunk_by(|one, next| one + 1 == *next);
        for (at, run) in runs.enumerate() {
            let comma = if at == 0 { "" } else { "," };
            match run {
                [one] => write!(f, "{comma}{one}")?,
                [first, .., last] => write!(f, "{comma}{first}-{last}")?,
                [] => {}
            }
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> ThreadPoolAttr {
        text.parse().unwrap_or_else(|error: InvalidAttrError| panic!("{text}: {}", error.detail()))
    }

    #[test]
    fn a_value_can_be_built_or_parsed() {
        let binding = CpuBinding::Cpus(vec![0, 2]);
        let attr =
            ThreadPoolAttr::new().with_thread_num(32).with_group_num(4).with_binding(binding);
        assert_eq!(attr, parsed("32, 4, (cpubind: 0, 2)"));
        assert_eq!((attr.thread_num(), attr.group_num()), (32, 4));
        assert_eq!(attr.binding(), &attr.binding);
        assert_ne!(attr.binding, CpuBinding::default());
    }

    #[test]
    fn missing_fields_use_defaults() {
        let default = ThreadPoolAttr::default();
        for text in ["", "  ", "16", "16,", "16, 2", "16,2,", " 16 , 2 , ( NoBind ) ", ",", ",,"] {
            assert_eq!(parsed(text), default, "{text:?}");
        }
        assert_eq!(
            parsed("0,0"),
            ThreadPoolAttr { thread_num: 0, group_num: 0, ..default.clone() }
        );
        for (text, threads) in [
            ("+5", 5),
            ("-0", 0),
            ("+0", 0),
            ("007", 7),
            ("0000000000000000000000000000004096", 4096),
        ] {
            assert_eq!(parsed(text), ThreadPoolAttr { thread_num: threads, ..default.clone() });
        }
        let signs = parsed("\t+1\n,\r+0 , (\tNODEBIND\n: 0 - 0 )");
        assert_eq!(
            signs,
            ThreadPoolAttr { thread_num: 1, group_num: 0, binding: CpuBinding::Nodes(vec![0]) }
        );
        let most = parsed("4096, 64, (AllBind)");
        assert_eq!((most.thread_num, most.group_num), (4096, 64));
        assert_eq!(most.binding, CpuBinding::All);
    }

    #[test]
    fn bindings_name_cpus_and_nodes() {
        let binding = |text: &str| parsed(&format!("1, 1, {text}")).binding;
        assert_eq!(binding("(cpubind: 0-3,5)"), CpuBinding::Cpus(vec![0, 1, 2, 3, 5]));
        assert_eq!(binding("( CPUBIND : 5 , 3 - 0 ,1,)"), CpuBinding::Cpus(vec![0, 1, 2, 3, 5]));
        assert_eq!(binding("(nodebind: 1, 0)"), CpuBinding::Nodes(vec![0, 1]));
        assert_eq!(binding("(numabind:1023)"), CpuBinding::Numa(vec![1023]));
        let all: Vec<_> = (0..=MAX_NUMBER).collect();
        for list in ["0-1023", "1023-0", "0 - 511, 512 - 1023", "0-1023,,7,", "1-1022,1023,0"] {
            assert_eq!(
                binding(&format!("(cpubind:{list})")),
                CpuBinding::Cpus(all.clone()),
                "{list}"
            );
        }
        assert_eq!(parsed("1,1,(cpubind: 5,0-3)").to_string(), "1, 1, (cpubind: 0-3,5)");
    }

    #[test]
    fn errors_name_the_mistake() {
        for (text, said) in [
            ("4097", "Current thread num 4097 is out of range [0, 4096]."),
            ("-1", "Current thread num -1 is out of range [0, 4096]."),
            ("--1", "invalid input syntax for integer: \"--1\""),
            ("-", "invalid input syntax for integer: \"-\""),
            ("99999999999999999999", "is out of range [0, 4096]."),
            ("1, 65", "Current group num 65 is out of range [0, 64]."),
            ("many", "invalid input syntax for integer: \"many\""),
            ("1, 2 3", "invalid input syntax for integer: \"2 3\""),
            (", 2", "Current thread num: invalid input syntax for integer: \"\""),
            ("16,, (nobind)", "Current group num: invalid input syntax"),
            ("16, (nobind)", "invalid input syntax for integer: \"(nobind)\""),
            ("16, 2, nobind", "Use '(' ')' to indicate cpu bind info."),
            ("16, 2, (nobind", "Use '(' ')' to indicate cpu bind info."),
            ("16, 2, (", "Use '(' ')' to indicate cpu bind info."),
            ("16, 2, ()", "Only 'nobind', 'allbind', 'cpubind', 'nodebind' and 'numabind'"),
            ("16, 2, (nobinding)", "are valid attribute."),
            ("16, 2, (nobind: 1)", "Can not parse attribute 1"),
            ("16, 2, (cpubind)", "Can not find valid CPU"),
            ("16, 2, (cpubind: )", "Can not find valid CPU"),
            ("16, 2, (cpubind: 0-)", "Can not parse attribute 0-"),
            ("16, 2, (cpubind: -1)", "Can not parse attribute -1"),
            ("16, 2, (cpubind: 1 2)", "Can not parse attribute 1 2"),
            ("16, 2, (cpubind: 1024)", "The cpubind attribute 1024 is out of valid range"),
            ("16, 2, (nodebind: 0-9999)", "The nodebind attribute 9999 is out of valid range"),
            ("16, 2, (nobind), 1", "Use '(' ')' to indicate cpu bind info."),
            ("--1", "Current thread num: invalid input syntax for integer: \"--1\""),
            ("+-1", "invalid input syntax for integer: \"+-1\""),
            ("-", "invalid input syntax for integer: \"-\""),
            ("+", "invalid input syntax for integer: \"+\""),
            ("1, +", "Current group num: invalid input syntax for integer: \"+\""),
            ("1.0", "invalid input syntax for integer: \"1.0\""),
            ("0x10", "invalid input syntax for integer: \"0x10\""),
            ("1_0", "invalid input syntax for integer: \"1_0\""),
            ("1\0", "invalid input syntax for integer: \"1\0\""),
            ("\u{661}", "invalid input syntax for integer: \"\u{661}\""),
            ("+4097", "Current thread num +4097 is out of range [0, 4096]."),
            ("9223372036854775808", "is out of range [0, 4096]."),
            ("-9223372036854775809", "is out of range [0, 4096]."),
            // These would be in range after an overflow.
            ("18446744073709551617", "is out of range [0, 4096]."),
            ("4294967297", "is out of range [0, 4096]."),
            ("1, 18446744073709551617", "is out of range [0, 64]."),
            ("1, -1", "Current group num -1 is out of range [0, 64]."),
            ("16, 2, ((nobind))", "are valid attribute."),
            ("16, 2, (nobind)(nobind)", "are valid attribute."),
            ("16, 2, )nobind(", "Use '(' ')' to indicate cpu bind info."),
            ("16, 2, [nobind]", "Use '(' ')' to indicate cpu bind info."),
            ("16, 2, (no bind)", "are valid attribute."),
            ("16, 2, (:)", "are valid attribute."),
            ("16, 2, (allbind:)", "Can not parse attribute "),
            ("16, 2, (cpubind1)", "are valid attribute."),
            ("16, 2, (cpubind 1)", "are valid attribute."),
            ("16, 2, (cpubind: 1: 2)", "Can not parse attribute 1: 2"),
            ("16, 2, (cpubind: +1)", "Can not parse attribute +1"),
            ("16, 2, (cpubind: 1-2-3)", "Can not parse attribute 1-2-3"),
            ("16, 2, (cpubind: 1--2)", "Can not parse attribute 1--2"),
            ("16, 2, (cpubind: -)", "Can not parse attribute -"),
            ("16, 2, (cpubind: \u{661})", "Can not parse attribute \u{661}"),
            ("16, 2, (cpubind: 1\0)", "Can not parse attribute 1\0"),
            ("16, 2, (cpubind: 18446744073709551616)", "is out of valid range [0, 1023]"),
            ("16, 2, (cpubind: 1024-0)", "The cpubind attribute 1024 is out of valid range"),
        ] {
            let error = text.parse::<ThreadPoolAttr>().expect_err(text);
            assert_eq!(error.to_string(), "Invalid attribute for thread pool.");
            assert!(error.detail().contains(said), "{text}: {}", error.detail());
        }
    }

    fn a_binding() -> impl Strategy<Value = CpuBinding> {
        let numbers = || {
            proptest::collection::btree_set(0..=MAX_NUMBER, 1..40)
                .prop_map(|numbers| numbers.into_iter().collect::<Vec<_>>())
        };
        prop_oneof![
            Just(CpuBinding::None),
            Just(CpuBinding::All),
            numbers().prop_map(CpuBinding::Cpus),
            numbers().prop_map(CpuBinding::Nodes),
            numbers().prop_map(CpuBinding::Numa),
        ]
    }

    proptest! {
        #[test]
        fn displayed_settings_parse_back(
            thread_num in 0..=MAX_THREADS, group_num in 0..=MAX_GROUPS, binding in a_binding(),
        ) {
            let attr = ThreadPoolAttr { thread_num, group_num, binding };
            prop_assert_eq!(attr.to_string().parse(), Ok(attr));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,60}", likely in "[-0-9,():a-eniobudlm ]{0,40}") {
            let bound = [format!("1,1,({likely})"), format!("1,1,(cpubind:{likely})")];
            for text in [text, likely].iter().chain(&bound) {
                if let Ok(attr) = text.parse::<ThreadPoolAttr>() {
                    prop_assert_eq!(attr.to_string().parse(), Ok(attr));
                }
            }
        }
    }
}
