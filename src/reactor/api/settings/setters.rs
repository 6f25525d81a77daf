//! [`with_setters`]: declares a struct of settings, each in one place with its contract and
//! default.
//!
//! It knows no setting. The structs are `#[non_exhaustive]`, so that a new setting breaks no
//! program.

/// Declares a public struct of settings with their defaults, and a setter for each field.
///
/// The fields can be read and assigned; outside the crate a struct comes from its constructor only.
/// That is `Default`, or `new` if some settings have no default: the declaration then ends in the
/// signature of `new`, and the values of the fields may use its arguments. A setter has the name of
/// its field and returns the changed struct; for an `Option<T>` it takes a `T`, too.
macro_rules! with_setters {
    (
        $(#[$meta:meta])*
        pub struct $name:ident { $($fields:tt)* }
    ) => {
        with_setters! { @struct [$(#[$meta])*] $name $($fields)* }

        impl Default for $name {
            fn default() -> $name {
                with_setters!(@value $name $($fields)*)
            }
        }
    };
    (
        $(#[$meta:meta])*
        pub struct $name:ident { $($fields:tt)* }

        $(#[$about:meta])*
        pub fn new($($argument:ident: $argument_type:ty),* $(,)?);
    ) => {
        with_setters! { @struct [$(#[$meta])*] $name $($fields)* }

        impl $name {
            $(#[$about])*
            pub fn new($($argument: $argument_type),*) -> $name {
                with_setters!(@value $name $($fields)*)
            }
        }
    };
    (
        @struct [$(#[$meta:meta])*] $name:ident
        $(
            $(#[$contract:meta])*
            pub $field:ident: $type:ident $(<$inner:ty>)? = $value:expr,
        )*
    ) => {
        $(#[$meta])*
        #[non_exhaustive]
        pub struct $name {
            $($(#[$contract])* pub $field: $type $(<$inner>)?,)*
        }

        impl $name {
            $(with_setters! { @setter $name $field $type $(<$inner>)? })*
        }
    };
    (
        @value $name:ident
        $($(#[$contract:meta])* pub $field:ident: $type:ident $(<$inner:ty>)? = $value:expr,)*
    ) => {
        $name { $($field: $value,)* }
    };
    (@setter $name:ident $field:ident Option<$inner:ty>) => {
        #[doc = concat!("Sets [`", stringify!($field), "`](field@Self::", stringify!($field), ").")]
        #[must_use]
        pub fn $field(mut self, $field: impl Into<Option<$inner>>) -> $name {
            self.$field = $field.into();
            self
        }
    };
    (@setter $name:ident $field:ident $type:ty) => {
        #[doc = concat!("Sets [`", stringify!($field), "`](field@Self::", stringify!($field), ").")]
        #[must_use]
        pub fn $field(mut self, $field: $type) -> $name {
            self.$field = $field;
            self
        }
    };
}

pub(crate) use with_setters;
