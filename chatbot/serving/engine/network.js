/**
 * The network in ONNX Runtime: one session over `model.onnx`, whose input `read` says which of its two calls is made
 * (`chatbot.deployment.web_network`). S words of a prompt, R rows that are followed, H hidden size, L decoder layers,
 * V vocabulary.
 *
 * @typedef {typeof import("onnxruntime-web")} Runtime
 *
 * @typedef {object} Memory what was read of one prompt
 * @property {Float32Array} memory (S, H)
 * @property {BigInt64Array} source (S,)
 * @property {number} length S
 *
 * @typedef {object} Said what may follow R rows
 * @property {Float32Array} logits (R, V), or empty if they were not asked for
 * @property {Float32Array} logProbs (R, V)
 * @property {Float32Array} attention (R, S), S being that of the longest memory
 * @property {Float32Array} hidden (L, R, H)
 */

export class Network {
  /**
   * @param {Runtime} runtime
   * @param {import("onnxruntime-web").InferenceSession} session
   * @param {{hiddenSize: number, decoderLayers: number}} sizes
   */
  constructor(runtime, session, sizes) {
    this.runtime = runtime;
    this.session = session;
    this.size = sizes.hiddenSize;
    this.layers = sizes.decoderLayers;
  }

  /**
   * @param {Runtime} runtime
   * @param {Uint8Array} model what `model.onnx` holds
   * @param {{hiddenSize: number, decoderLayers: number}} sizes
   */
  static async open(runtime, model, sizes) {
    const session = await runtime.InferenceSession.create(model, { executionProviders: ["wasm"] });
    return new Network(runtime, session, sizes);
  }

  /**
   * Read a prompt.
   *
   * @param {number[]} ids at least one
   * @returns {Promise<{given: Memory, hidden: Float32Array}>} hidden (L, 1, H)
   */
  async read(ids) {
    const found = await this.run(
      {
        read: true,
        src: this.integers(ids, [1, ids.length]),
        src_lengths: this.integers([ids.length], [1]),
        tokens: this.integers([], [0, 1]),
        hidden: this.floats(new Float32Array(0), [this.layers, 0, this.size]),
        memory: this.floats(new Float32Array(0), [0, 1, this.size]),
        source: this.integers([], [0, 1]),
      },
      ["new_memory", "new_source", "new_hidden"],
    );
    const source = /** @type {BigInt64Array} */ (found.new_source.data);
    const memory = /** @type {Float32Array} */ (found.new_memory.data);
    const hidden = /** @type {Float32Array} */ (found.new_hidden.data);
    return { given: { memory, source, length: source.length }, hidden };
  }

  /**
   * One token further.
   *
   * @param {number[]} tokens the last of each row (R)
   * @param {Float32Array} hidden (L, R, H)
   * @param {Memory[]} given of each row, R; shorter ones are padded
   * @param {boolean} logits whether they are wanted too
   * @returns {Promise<Said>}
   */
  async step(tokens, hidden, given, logits) {
    const rows = tokens.length;
    const length = given.reduce((longest, { length }) => Math.max(longest, length), 0);
    const memory = new Float32Array(rows * length * this.size);
    const source = new BigInt64Array(rows * length); // 0 is padding
    for (const [row, one] of given.entries()) {
      memory.set(one.memory, row * length * this.size);
      source.set(one.source, row * length);
    }
    const found = await this.run(
      {
        read: false,
        src: this.integers([], [0, 1]),
        src_lengths: this.integers([], [0]),
        tokens: this.integers(tokens, [rows, 1]),
        hidden: this.floats(hidden, [this.layers, rows, this.size]),
        memory: this.floats(memory, [rows, length, this.size]),
        source: new this.runtime.Tensor("int64", source, [rows, length]),
      },
      ["log_probs", "new_hidden", "attention", ...(logits ? ["logits"] : [])],
    );
    /** @param {string} name */
    const floats = (name) => /** @type {Float32Array} */ (found[name].data);
    return {
      logits: logits ? floats("logits") : new Float32Array(0),
      logProbs: floats("log_probs"),
      attention: floats("attention"),
      hidden: floats("new_hidden"),
    };
  }

  /**
   * @param {Record<string, boolean | import("onnxruntime-web").Tensor>} inputs
   * @param {string[]} wanted
   */
  run({ read, ...tensors }, wanted) {
    const flag = new this.runtime.Tensor("bool", [/** @type {boolean} */ (read)], []);
    const feeds = /** @type {Record<string, import("onnxruntime-web").Tensor>} */ ({ read: flag, ...tensors });
    return this.session.run(feeds, wanted);
  }

  /**
   * @param {number[]} values
   * @param {number[]} shape
   */
  integers(values, shape) {
    return new this.runtime.Tensor("int64", BigInt64Array.from(values, BigInt), shape);
  }

  /**
   * @param {Float32Array} values
   * @param {number[]} shape
   */
  floats(values, shape) {
    return new this.runtime.Tensor("float32", values, shape);
  }
}
