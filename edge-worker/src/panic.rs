//! A panic ends the program, and with it whatever waits for it. An object ends, too: its connections close, all its requests
//! fail, and the next one gets a new object. A request is not waited for any more.
//!
//! Nothing of the program runs afterwards. So what is to be done then is JavaScript's own, hangs on a promise, and the panic
//! hook keeps that promise. (It runs in the request or the object that made the promise, as it must, whoever keeps it.)

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Once;

use wasm_bindgen::{JsCast, JsValue};
use worker::durable::State;
use worker::js_sys::{Array, Function, Promise, Reflect};

/// What an object is ended with.
pub(crate) const PANIC: &str = "pgspan: a panic";

thread_local! {
    static ENDS: RefCell<Vec<Weak<Function>>> = const { RefCell::new(Vec::new()) };
}

/// A promise that is kept by calling its end, and by a panic. One whose end is dropped is kept by neither.
pub(crate) fn promise() -> (Promise, Option<End>) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            before(panic);
            end_all();
        }));
    });
    let mut end = None;
    let promise = Promise::new(&mut |resolve, _| end = Some(End(Rc::new(resolve))));
    ENDS.with_borrow_mut(|ends| {
        if ends.len() == ends.capacity() {
            ends.retain(|end| end.strong_count() > 0);
        }
        ends.extend(end.as_ref().map(|end| Rc::downgrade(&end.0)));
    });
    (promise, end)
}

/// What keeps a promise.
#[derive(Debug)]
pub(crate) struct End(Rc<Function>);

impl End {
    pub(crate) fn call(&self) {
        let _ = self.0.call0(&JsValue::UNDEFINED);
    }
}

/// Keeps all promises.
pub(crate) fn end_all() {
    // a panic may come while the list is borrowed
    let ends = ENDS.with(|ends| ends.try_borrow_mut().map(|mut ends| std::mem::take(&mut *ends)));
    for end in ends.unwrap_or_default().iter().filter_map(Weak::upgrade) {
        End(end).call();
    }
}

/// Lets a panic end the object, as long as what is given is kept.
pub(crate) fn ends_with_a_panic(state: &State) -> Option<End> {
    let (ended, end) = promise();
    let state: &JsValue = state.as_raw().as_ref();
    let abort = bound(state, "abort", &Array::of2(state, &PANIC.into())).ok()?;
    method(&ended, "then").ok()?.call1(&ended, &abort).ok()?;
    end
}

/// A method with its object and its arguments. It is JavaScript's own, and works when the program is gone.
fn bound(object: &JsValue, name: &str, arguments: &Array) -> Result<JsValue, JsValue> {
    let method = method(object, name)?;
    self::method(&method, "bind")?.apply(&method, arguments)
}

fn method(object: &JsValue, name: &str) -> Result<Function, JsValue> {
    Reflect::get(object, &name.into())?.dyn_into()
}
